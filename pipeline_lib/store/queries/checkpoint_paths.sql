-- Where every checkpoint lies.
SELECT run_id, step, path FROM checkpoints ORDER BY run_id, step;
