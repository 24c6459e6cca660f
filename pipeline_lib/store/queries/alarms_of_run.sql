-- The alarms of a run, by step.
SELECT * FROM alarms WHERE run_id = $run_id ORDER BY step, kind;
