-- Where the tokens of the evaluated responses of some runs go: a row per model, benchmark and verdict. Mean tokens of all its
-- responses before and behind the first right answer, in responses without one, and in those where that cannot be told.
SELECT
    run_id, step, model, source AS benchmark, correct, count(*) AS num_rollouts, avg(num_tokens) AS mean_tokens,
    avg(CASE WHEN answer_appears THEN tokens_to_answer ELSE 0 END) AS before_answer,
    avg(CASE WHEN answer_appears THEN tokens_after_answer ELSE 0 END) AS after_answer,
    avg(CASE WHEN NOT answer_appears THEN num_tokens ELSE 0 END) AS without_answer,
    avg(CASE WHEN answer_appears IS NULL THEN num_tokens ELSE 0 END) AS untold,
    avg(restarts) AS restarts, avg(repeated_fraction) AS repeated_fraction, avg(cut::INTEGER) AS cut_fraction
FROM rollout_anatomy
WHERE list_contains($run_ids, run_id) AND stage = 'evaluate' AND restarts IS NOT NULL
GROUP BY run_id, step, model, source, correct
ORDER BY list_position($run_ids, run_id), source, step, model, correct DESC;
