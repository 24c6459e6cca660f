-- Every rollout of a prompt in the profile and the training of a run; a profile that was taken over has its rollouts elsewhere.
WITH sampled_by AS (
    SELECT owners.run_id
    FROM stage_results AS own
    JOIN stage_results AS owners
        ON owners.stage = 'profile' AND owners.unit = own.unit AND owners.fingerprint = own.fingerprint
        AND owners.reused_from IS NULL
    WHERE own.run_id = $run_id AND own.stage = 'profile'
    ORDER BY owners.run_id = $run_id DESC, owners.recorded_at DESC
    LIMIT 1
)
SELECT rollout_id, stage, step, sample_index, num_tokens, correct, reward
FROM rollouts
WHERE source = $source AND prompt_id = $prompt_id
    AND (stage = 'train' AND run_id = $run_id OR stage = 'profile' AND run_id IN (FROM sampled_by))
ORDER BY stage, step, sample_index;
