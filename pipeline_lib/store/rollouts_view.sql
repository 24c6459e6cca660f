-- Not a migration: the absolute path is in the definition, so the view is made again whenever the home folder has moved.
-- A migration that changes the view's columns drops the view; opening the store then makes it anew from this file.
-- Files of both kinds: compacted ones hold the rollout_id and are read by the run and stage in their paths.
CREATE OR REPLACE VIEW rollouts AS
SELECT
    rollout_id, run_id, stage, step, model, source, prompt_id, sample_index, num_tokens, finish_reason, answer, correct,
    grade_reason, reward, advantage, masked, policy_lag, policy_version, mean_logprob, text
FROM read_parquet($compacted_source, union_by_name = true, hive_partitioning = true, hive_types_autocast = false)
UNION ALL
SELECT
    concat_ws('/', run_id, stage, model || '-' || step, prompt_id, sample_index) AS rollout_id,
    run_id, stage, step, model, source, prompt_id, sample_index, num_tokens, finish_reason, answer, correct, grade_reason,
    reward, advantage, masked, policy_lag, policy_version, mean_logprob, text
FROM read_parquet($rollouts_source, union_by_name = true, hive_partitioning = false);
COMMENT ON VIEW rollouts IS 'Rollout of any stage. Reads the Parquet files below rollouts/<run_id> in place.';
COMMENT ON COLUMN rollouts.rollout_id IS 'run_id/stage/model-step/prompt_id/sample_index';
COMMENT ON COLUMN rollouts.run_id IS 'The run';
COMMENT ON COLUMN rollouts.stage IS 'profile, train or evaluate';
COMMENT ON COLUMN rollouts.step IS 'Training step of the model; 0 is the model before RL';
COMMENT ON COLUMN rollouts.model IS 'The model that generated it';
COMMENT ON COLUMN rollouts.source IS 'Name of the prompt source or benchmark';
COMMENT ON COLUMN rollouts.prompt_id IS 'The prompt';
COMMENT ON COLUMN rollouts.sample_index IS 'Number among the rollouts of the prompt, from 0';
COMMENT ON COLUMN rollouts.num_tokens IS 'Length of the response, end token included';
COMMENT ON COLUMN rollouts.finish_reason IS 'stop (the model ended it) or length (cut at the limit)';
COMMENT ON COLUMN rollouts.answer IS 'Extracted answer; NULL when there is none';
COMMENT ON COLUMN rollouts.correct IS 'Whether the answer is right';
COMMENT ON COLUMN rollouts.grade_reason IS 'correct, wrong, no_answer, truncated, timeout or error; behind a colon what a grader says of it';
COMMENT ON COLUMN rollouts.reward IS 'Reward; NULL outside training';
COMMENT ON COLUMN rollouts.advantage IS 'Advantage within its group; NULL outside training';
COMMENT ON COLUMN rollouts.masked IS 'Whether the reward keeps it out of the loss';
COMMENT ON COLUMN rollouts.policy_lag IS 'Optimiser steps between its generation and its use';
COMMENT ON COLUMN rollouts.policy_version IS 'Optimiser steps of the run that had made the weights that generated it; NULL outside training, and in homes older than the column';
COMMENT ON COLUMN rollouts.mean_logprob IS 'Mean log-prob of its tokens under the engine (nats)';
COMMENT ON COLUMN rollouts.text IS 'The response';
