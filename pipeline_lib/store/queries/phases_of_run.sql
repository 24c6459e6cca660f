-- The two stages of a run's training.
SELECT * FROM phases WHERE run_id = $run_id ORDER BY first_step;
