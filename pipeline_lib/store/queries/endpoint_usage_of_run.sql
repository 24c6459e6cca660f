-- What a run has asked of an endpoint: a row a stage and sitting.
SELECT * FROM endpoint_usage WHERE run_id = $run_id ORDER BY started_at;
