-- The checkpoints of a run, the oldest first.
SELECT * FROM checkpoints WHERE run_id = $run_id ORDER BY step;
