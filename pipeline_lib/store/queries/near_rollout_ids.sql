-- The rollouts of a run whose ids differ least from a mistyped one.
SELECT rollout_id
FROM rollouts
WHERE run_id = $run_id
ORDER BY levenshtein(rollout_id, $rollout_id), rollout_id
LIMIT $count;
