ALTER TABLE training_steps ADD COLUMN target_tokens DOUBLE;
COMMENT ON COLUMN training_steps.target_tokens IS 'L_T in force; moves only where the reward moves it';
ALTER TABLE training_steps ADD COLUMN masked_fraction DOUBLE;
COMMENT ON COLUMN training_steps.masked_fraction IS 'Share of rollouts kept out of the loss by the negative-rollout strategy or overlong filtering';
ALTER TABLE training_steps ADD COLUMN batch_optimizer_steps INTEGER;
COMMENT ON COLUMN training_steps.batch_optimizer_steps IS 'Optimiser steps taken on this batch: at most S, fewer where a share had no signal';
ALTER TABLE training_steps ADD COLUMN largest_policy_lag INTEGER;
COMMENT ON COLUMN training_steps.largest_policy_lag IS 'Largest policy_lag of a rollout of the batch (version lag in optimiser steps)';
ALTER TABLE training_steps ADD COLUMN batches_drawn INTEGER;
COMMENT ON COLUMN training_steps.batches_drawn IS 'Batches of prompts drawn for this step; above 1 with dynamic sampling';
ALTER TABLE training_steps ADD COLUMN engine_ratio_capped_fraction DOUBLE;
COMMENT ON COLUMN training_steps.engine_ratio_capped_fraction IS 'Share of tokens whose trainer / engine ratio hit train.engine_ratio_cap; NULL without the correction';
ALTER TABLE training_steps ADD COLUMN validation_full_accuracy DOUBLE;
COMMENT ON COLUMN training_steps.validation_full_accuracy IS 'Held-out accuracy whatever the length, up to validation.limit_tokens; NULL when not measured';

ALTER TABLE alarms ADD COLUMN action VARCHAR DEFAULT 'warn';
COMMENT ON COLUMN alarms.action IS 'What it did: warn, stop or roll_back';

CREATE TABLE phases (
    run_id VARCHAR,
    phase VARCHAR,
    first_step INTEGER NOT NULL,
    last_step INTEGER NOT NULL,
    mean_tokens_first DOUBLE NOT NULL,
    mean_tokens_last DOUBLE NOT NULL,
    accuracy_first DOUBLE NOT NULL,
    accuracy_last DOUBLE NOT NULL,
    entropy_first DOUBLE NOT NULL,
    entropy_last DOUBLE NOT NULL,
    PRIMARY KEY (run_id, phase)
);
COMMENT ON TABLE phases IS 'Run × phase. The two stages of training (finding F1), split where the length stops falling.';
COMMENT ON COLUMN phases.run_id IS 'The run';
COMMENT ON COLUMN phases.phase IS 'length_adaptation or reasoning_refinement';
COMMENT ON COLUMN phases.first_step IS 'First step of the phase';
COMMENT ON COLUMN phases.last_step IS 'Last step of the phase';
COMMENT ON COLUMN phases.mean_tokens_first IS 'Mean length at its start (mean of a few steps)';
COMMENT ON COLUMN phases.mean_tokens_last IS 'Mean length at its end';
COMMENT ON COLUMN phases.accuracy_first IS 'Accuracy of the rollouts at its start, length aside, 0–1';
COMMENT ON COLUMN phases.accuracy_last IS 'Accuracy at its end';
COMMENT ON COLUMN phases.entropy_first IS 'Entropy at its start (nats a token)';
COMMENT ON COLUMN phases.entropy_last IS 'Entropy at its end';

CREATE TABLE experiments (
    experiment VARCHAR,
    arm VARCHAR,
    seed INTEGER,
    run_id VARCHAR NOT NULL,
    finding VARCHAR,
    label VARCHAR NOT NULL,
    position INTEGER NOT NULL,
    settings JSON,
    status VARCHAR NOT NULL,
    seconds DOUBLE,
    recorded_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (experiment, arm, seed)
);
COMMENT ON TABLE experiments IS 'Experiment × arm × seed. Child runs of an experiment; join by run_id with training_steps, budget_results and alarms.';
COMMENT ON COLUMN experiments.experiment IS 'Name, as in configs/experiments';
COMMENT ON COLUMN experiments.arm IS 'Setting that is compared with the others';
COMMENT ON COLUMN experiments.seed IS 'Seed of the child run';
COMMENT ON COLUMN experiments.run_id IS 'The child run';
COMMENT ON COLUMN experiments.finding IS 'Finding of the paper, such as F3';
COMMENT ON COLUMN experiments.label IS 'Arm in words';
COMMENT ON COLUMN experiments.position IS 'Order of the arm in the file';
COMMENT ON COLUMN experiments.settings IS 'What the arm changes in the base configuration';
COMMENT ON COLUMN experiments.status IS 'completed: a child run is recorded when it is done';
COMMENT ON COLUMN experiments.seconds IS 'Wall time of the child run; NULL until it completed';
COMMENT ON COLUMN experiments.recorded_at IS 'When the row was last written';

CREATE TABLE experiment_metrics (
    experiment VARCHAR,
    arm VARCHAR,
    seed INTEGER,
    metric VARCHAR,
    value DOUBLE,
    PRIMARY KEY (experiment, arm, seed, metric)
);
COMMENT ON TABLE experiment_metrics IS 'Experiment × arm × seed × metric. What the claims of a finding are judged by.';
COMMENT ON COLUMN experiment_metrics.experiment IS 'Name of the experiment';
COMMENT ON COLUMN experiment_metrics.arm IS 'Arm';
COMMENT ON COLUMN experiment_metrics.seed IS 'Seed of the child run';
COMMENT ON COLUMN experiment_metrics.metric IS 'Name, such as accuracy@48, tokens, entropy.max or dip; docs/experiments.md has them all';
COMMENT ON COLUMN experiment_metrics.value IS 'Value; NULL where it is not defined';
