-- The same sample of the same benchmark's problem by every evaluated model of a run; step 0, which runs with one base share, from
-- any run with this base.
SELECT rollouts.rollout_id, rollouts.step
FROM rollouts
JOIN runs USING (run_id)
WHERE rollouts.stage = 'evaluate' AND rollouts.source = $source AND rollouts.prompt_id = $prompt_id
    AND rollouts.sample_index = $sample_index
    AND (rollouts.run_id = $run_id
        OR rollouts.step = 0 AND runs.base_model = (SELECT base_model FROM runs WHERE run_id = $run_id))
QUALIFY row_number() OVER (
    PARTITION BY rollouts.step ORDER BY rollouts.run_id = $run_id DESC, runs.started_at DESC, rollouts.rollout_id
) = 1
ORDER BY rollouts.step;
