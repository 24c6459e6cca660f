-- The rollouts of a profile with these inputs, a row a prompt: lists in the order of the samples. A profile that was taken over
-- from another run has its rollouts there.
WITH sampled_by AS (
    SELECT run_id
    FROM stage_results
    WHERE stage = 'profile' AND unit = '' AND fingerprint = $fingerprint AND reused_from IS NULL
    ORDER BY run_id = $run_id DESC, recorded_at DESC
    LIMIT 1
)
SELECT
    any_value(run_id) AS run_id,
    prompt_id,
    list(num_tokens ORDER BY sample_index) AS lengths,
    list(correct ORDER BY sample_index) AS correct,
    list(finish_reason = 'stop' ORDER BY sample_index) AS finished,
    list(mean_logprob ORDER BY sample_index) AS logprobs
FROM rollouts
WHERE stage = 'profile' AND step = 0 AND run_id = (SELECT run_id FROM sampled_by)
GROUP BY prompt_id
ORDER BY prompt_id;
