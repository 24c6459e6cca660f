-- Pass rate and mean length of every profiled prompt: the columns of `difficulty`.
SELECT
    run_id,
    prompt_id,
    count(*) AS num_rollouts,
    count(*) FILTER (WHERE correct) AS num_correct,
    avg(correct::INTEGER) AS pass_rate,
    avg(num_tokens) AS mean_tokens,
    count(answer) FILTER (WHERE finish_reason = 'stop') AS num_answered
FROM rollouts
WHERE run_id = $run_id AND stage = 'profile'
GROUP BY run_id, prompt_id
ORDER BY prompt_id;
