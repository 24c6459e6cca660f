-- Where fewer than the share $few of the responses that a run's profile has seen end have an answer: some $limit of those
-- responses. Empty otherwise. Chosen before they are read, since a profile's texts are large.
WITH counted AS (
    SELECT count(*) AS num_finished, count(answer) AS num_answered
    FROM rollouts
    WHERE run_id = $run_id AND stage = 'profile' AND step = 0 AND finish_reason = 'stop'
)
SELECT rollouts.text, prompts.problem, prompts.answer, prompts.tests, prompts.tolerance, num_answered / num_finished AS answered
FROM rollouts
JOIN prompts ON prompts.prompt_id = rollouts.prompt_id AND prompts.source = rollouts.source
CROSS JOIN counted
WHERE run_id = $run_id AND stage = 'profile' AND step = 0 AND finish_reason = 'stop'
    AND num_answered < $few * num_finished
    AND hash(rollouts.prompt_id, sample_index) % greatest(1, num_finished // $limit) = 0
ORDER BY rollouts.prompt_id, sample_index
LIMIT $limit;
