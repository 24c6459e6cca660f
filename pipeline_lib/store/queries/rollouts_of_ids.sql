-- Some rollouts whole, with the problem and its answer. $run_ids: the runs that their ids begin with, which spares reading others.
SELECT rollouts.*, prompts.problem, prompts.answer AS reference_answer, prompts.domain
FROM rollouts
LEFT JOIN prompts ON prompts.prompt_id = rollouts.prompt_id AND prompts.source = rollouts.source
WHERE list_contains($run_ids, rollouts.run_id) AND list_contains($rollout_ids, rollouts.rollout_id)
ORDER BY list_position($rollout_ids, rollouts.rollout_id);
