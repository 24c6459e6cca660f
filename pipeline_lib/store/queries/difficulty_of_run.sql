-- The difficulty profile of a run, its own or taken over from another run with the same inputs.
SELECT * FROM difficulty WHERE run_id = $run_id ORDER BY prompt_id;
