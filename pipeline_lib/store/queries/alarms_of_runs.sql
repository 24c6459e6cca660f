-- The alarms of some runs, by step.
SELECT * FROM alarms WHERE list_contains($run_ids, run_id) ORDER BY run_id, step, kind;
