-- The responses of a run's base and last evaluated model on a benchmark, with the problem and its answer; $prompt_ids: to some
-- problems, or NULL.
SELECT rollouts.step, rollouts.prompt_id, rollouts.sample_index, prompts.problem, prompts.answer, rollouts.text, rollouts.correct,
    rollouts.num_tokens
FROM rollouts
JOIN prompts ON prompts.prompt_id = rollouts.prompt_id AND prompts.source = rollouts.source
WHERE rollouts.run_id = $run_id AND rollouts.stage = 'evaluate' AND rollouts.source = $source
    AND ($prompt_ids::VARCHAR[] IS NULL OR list_contains($prompt_ids::VARCHAR[], rollouts.prompt_id))
    AND rollouts.step IN (0, (SELECT max(step) FROM rollouts WHERE run_id = $run_id AND stage = 'evaluate' AND source = $source))
ORDER BY rollouts.prompt_id, rollouts.sample_index, rollouts.step;
