-- How many responses have an answer at all: without one a grader has nothing to judge, however good the response is.
ALTER TABLE difficulty ADD COLUMN num_answered INTEGER;
COMMENT ON COLUMN difficulty.num_answered IS 'Rollouts that the model ended itself and that have an answer; NULL for pass rates from elsewhere';
ALTER TABLE training_steps ADD COLUMN answered_fraction DOUBLE;
COMMENT ON COLUMN training_steps.answered_fraction IS 'Share of rollouts that the model ended itself and that have an answer';
ALTER TABLE budget_results ADD COLUMN answered_fraction DOUBLE;
COMMENT ON COLUMN budget_results.answered_fraction IS 'Share of samples that end within the budget and have an answer';

CREATE VIEW answers_found AS
SELECT
    run_id, 'profile' AS stage, 0 AS step, NULL AS benchmark, NULL AS budget_tokens,
    sum(num_answered) / sum(num_rollouts) AS answered_fraction, sum(num_correct) / sum(num_rollouts) AS accuracy
FROM difficulty
WHERE num_answered IS NOT NULL
GROUP BY run_id
UNION ALL
SELECT run_id, 'train', step, NULL, NULL, answered_fraction, accuracy FROM training_steps WHERE answered_fraction IS NOT NULL
UNION ALL
SELECT run_id, 'evaluate', step, benchmark, budget_tokens, answered_fraction, mean_at_k
FROM budget_results
WHERE answered_fraction IS NOT NULL;
COMMENT ON VIEW answers_found IS 'Profile, training step or sweep at a budget. How many responses have an answer, beside how many are right.';
COMMENT ON COLUMN answers_found.run_id IS 'The run';
COMMENT ON COLUMN answers_found.stage IS 'profile, train or evaluate';
COMMENT ON COLUMN answers_found.step IS 'Training step of the model; 0 is the model before RL';
COMMENT ON COLUMN answers_found.benchmark IS 'The benchmark; NULL for training prompts';
COMMENT ON COLUMN answers_found.budget_tokens IS 'The budget of the sweep; NULL elsewhere';
COMMENT ON COLUMN answers_found.answered_fraction IS 'Share of responses that the model ended itself (a sweep: within the budget) and that have an answer';
COMMENT ON COLUMN answers_found.accuracy IS 'Share of responses that are right';
