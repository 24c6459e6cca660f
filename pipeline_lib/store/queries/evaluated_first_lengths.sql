-- The lengths of the first response to each problem of a benchmark, by a run's base and last evaluated model.
SELECT rollouts.step, rollouts.prompt_id, rollouts.num_tokens
FROM rollouts
JOIN prompts ON prompts.prompt_id = rollouts.prompt_id AND prompts.source = rollouts.source
WHERE rollouts.run_id = $run_id AND rollouts.stage = 'evaluate' AND rollouts.source = $source AND rollouts.sample_index = 0
    AND rollouts.step IN (0, (SELECT max(step) FROM rollouts WHERE run_id = $run_id AND stage = 'evaluate' AND source = $source))
ORDER BY rollouts.prompt_id, rollouts.step;
