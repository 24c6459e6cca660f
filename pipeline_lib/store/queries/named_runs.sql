-- Every run, the newest first.
SELECT run_id, name, control_of, started_at FROM runs ORDER BY started_at DESC NULLS LAST, run_id;
