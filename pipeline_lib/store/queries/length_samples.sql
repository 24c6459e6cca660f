-- Length and correctness of every evaluated response of some runs.
SELECT run_id, step, source AS benchmark, correct, num_tokens
FROM rollouts
WHERE list_contains($run_ids, run_id) AND stage = 'evaluate'
ORDER BY run_id, step, benchmark, num_tokens;
