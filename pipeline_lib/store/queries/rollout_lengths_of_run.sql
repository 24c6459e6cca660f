-- The $count longest and the $count shortest correct rollouts of a run, of any stage.
(
    SELECT 'longest' AS kind, rollout_id, num_tokens, correct
    FROM rollouts
    WHERE run_id = $run_id
    ORDER BY num_tokens DESC, rollout_id
    LIMIT $count
)
UNION ALL
(
    SELECT 'shortest correct', rollout_id, num_tokens, correct
    FROM rollouts
    WHERE run_id = $run_id AND correct
    ORDER BY num_tokens, rollout_id
    LIMIT $count
);
