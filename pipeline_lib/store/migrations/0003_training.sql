CREATE TABLE training_steps (
    run_id VARCHAR,
    step INTEGER,
    reward_mean DOUBLE NOT NULL,
    accuracy DOUBLE NOT NULL,
    mean_tokens DOUBLE NOT NULL,
    mean_tokens_correct DOUBLE,
    mean_tokens_incorrect DOUBLE,
    entropy DOUBLE NOT NULL,
    truncated_fraction DOUBLE NOT NULL,
    positive_fraction DOUBLE NOT NULL,
    zero_variance_fraction DOUBLE NOT NULL,
    kl DOUBLE,
    grad_norm DOUBLE,
    loss DOUBLE,
    clip_fraction DOUBLE,
    learning_rate DOUBLE NOT NULL,
    logprob_gap DOUBLE NOT NULL,
    policy_lag DOUBLE NOT NULL,
    optimizer_steps INTEGER NOT NULL,
    num_rollouts INTEGER NOT NULL,
    tokens_per_second DOUBLE NOT NULL,
    generation_seconds DOUBLE NOT NULL,
    update_seconds DOUBLE NOT NULL,
    sync_seconds DOUBLE NOT NULL,
    other_seconds DOUBLE NOT NULL,
    checkpoint_seconds DOUBLE NOT NULL,
    validation_accuracy DOUBLE,
    validation_mean_tokens DOUBLE,
    PRIMARY KEY (run_id, step)
);
COMMENT ON TABLE training_steps IS 'Run × step. One batch of rollouts and the optimiser steps taken on it; the first step is 1.';
COMMENT ON COLUMN training_steps.run_id IS 'The run';
COMMENT ON COLUMN training_steps.step IS 'Batch of rollouts';
COMMENT ON COLUMN training_steps.reward_mean IS 'Mean reward of the rollouts';
COMMENT ON COLUMN training_steps.accuracy IS 'Share of correct rollouts, length aside';
COMMENT ON COLUMN training_steps.mean_tokens IS 'Mean length';
COMMENT ON COLUMN training_steps.mean_tokens_correct IS 'Mean length of the correct rollouts; NULL without any';
COMMENT ON COLUMN training_steps.mean_tokens_incorrect IS 'Mean length of the incorrect rollouts; NULL without any';
COMMENT ON COLUMN training_steps.entropy IS 'Mean of -log p over all sampled tokens: an unbiased estimate of the policy''s entropy a token (nats)';
COMMENT ON COLUMN training_steps.truncated_fraction IS 'Share of rollouts cut at the rollout limit';
COMMENT ON COLUMN training_steps.positive_fraction IS 'Share of rollouts with a positive reward';
COMMENT ON COLUMN training_steps.zero_variance_fraction IS 'Share of groups whose rewards are all equal';
COMMENT ON COLUMN training_steps.kl IS 'Mean divergence from the base model (nats); NULL when not computed';
COMMENT ON COLUMN training_steps.grad_norm IS 'Gradient norm before clipping, mean over the optimiser steps';
COMMENT ON COLUMN training_steps.loss IS 'Loss, mean over the optimiser steps';
COMMENT ON COLUMN training_steps.clip_fraction IS 'Share of tokens whose importance ratio was clipped';
COMMENT ON COLUMN training_steps.learning_rate IS 'Learning rate of the last optimiser step';
COMMENT ON COLUMN training_steps.logprob_gap IS 'Largest difference of engine and trainer log-probs over the trained tokens and a few after the weight sync (nats)';
COMMENT ON COLUMN training_steps.policy_lag IS 'Mean number of optimiser steps between generation and use of a rollout';
COMMENT ON COLUMN training_steps.optimizer_steps IS 'Optimiser steps of the run so far';
COMMENT ON COLUMN training_steps.num_rollouts IS 'Rollouts in the batch';
COMMENT ON COLUMN training_steps.tokens_per_second IS 'Generated tokens per second of generation';
COMMENT ON COLUMN training_steps.generation_seconds IS 'Time to generate the batch';
COMMENT ON COLUMN training_steps.update_seconds IS 'Time of forward, backward and optimiser';
COMMENT ON COLUMN training_steps.sync_seconds IS 'Time of the weight sync and its parity check';
COMMENT ON COLUMN training_steps.other_seconds IS 'Time of the rest: grading, rewards, writing';
COMMENT ON COLUMN training_steps.checkpoint_seconds IS 'Time of validation and saving';
COMMENT ON COLUMN training_steps.validation_accuracy IS 'Held-out accuracy at the target length; NULL when not measured';
COMMENT ON COLUMN training_steps.validation_mean_tokens IS 'Held-out mean length; NULL when not measured';

CREATE TABLE checkpoints (
    run_id VARCHAR,
    step INTEGER,
    path VARCHAR NOT NULL,
    is_best BOOLEAN NOT NULL,
    validation_accuracy DOUBLE,
    model_name VARCHAR,
    model_version INTEGER,
    PRIMARY KEY (run_id, step)
);
COMMENT ON TABLE checkpoints IS 'Run × step. Saved state of training, or the model exported from it.';
COMMENT ON COLUMN checkpoints.run_id IS 'The run';
COMMENT ON COLUMN checkpoints.step IS 'Last finished step in it; 0 is the model before RL';
COMMENT ON COLUMN checkpoints.path IS 'Folder';
COMMENT ON COLUMN checkpoints.is_best IS 'Best so far by held-out accuracy at the target length';
COMMENT ON COLUMN checkpoints.validation_accuracy IS 'Held-out accuracy at the target length; NULL when not measured';
COMMENT ON COLUMN checkpoints.model_name IS 'Name in the model registry; NULL when not registered';
COMMENT ON COLUMN checkpoints.model_version IS 'Version in the model registry';

CREATE TABLE alarms (
    run_id VARCHAR,
    step INTEGER,
    kind VARCHAR,
    value DOUBLE NOT NULL,
    threshold DOUBLE NOT NULL,
    PRIMARY KEY (run_id, step, kind)
);
COMMENT ON TABLE alarms IS 'Run × step × kind. A sign in the training dynamics that the run may be going wrong.';
COMMENT ON COLUMN alarms.run_id IS 'The run';
COMMENT ON COLUMN alarms.step IS 'Step at which it was raised';
COMMENT ON COLUMN alarms.kind IS 'entropy_spike, length_collapse, length_rebound or reward_starvation';
COMMENT ON COLUMN alarms.value IS 'Value that raised it';
COMMENT ON COLUMN alarms.threshold IS 'Value it was compared with';
