-- The metrics of every step of a run.
SELECT *
FROM training_steps
WHERE run_id = $run_id
ORDER BY step;
