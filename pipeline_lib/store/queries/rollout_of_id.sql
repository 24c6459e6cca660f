-- A rollout whole, with the problem and its answer. $run_id: the run that its id begins with, which spares reading others.
SELECT rollouts.*, prompts.problem, prompts.answer AS reference_answer, prompts.domain
FROM rollouts
LEFT JOIN prompts ON prompts.prompt_id = rollouts.prompt_id AND prompts.source = rollouts.source
WHERE rollouts.run_id = $run_id AND rollouts.rollout_id = $rollout_id;
