-- The metrics of every step of some runs.
SELECT *
FROM training_steps
WHERE list_contains($run_ids, run_id)
ORDER BY run_id, step;
