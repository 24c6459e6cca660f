CREATE TABLE runs (
    run_id VARCHAR PRIMARY KEY,
    name VARCHAR NOT NULL,
    status VARCHAR NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'completed', 'failed', 'cancelled')),
    base_model VARCHAR,
    control_of VARCHAR,
    config JSON,
    git_commit VARCHAR,
    started_at TIMESTAMPTZ,
    finished_at TIMESTAMPTZ,
    prefect_flow_run_id VARCHAR,
    mlflow_run_id VARCHAR,
    error VARCHAR
);
COMMENT ON TABLE runs IS 'Pipeline run. The same command on the same configuration is the same run.';
COMMENT ON COLUMN runs.run_id IS 'Name and a digest of the resolved configuration';
COMMENT ON COLUMN runs.name IS 'Name in the configuration; a control run ends in -control';
COMMENT ON COLUMN runs.status IS 'running, completed, failed or cancelled';
COMMENT ON COLUMN runs.base_model IS 'Model that training starts from: folder, hub id or builtin:tiny';
COMMENT ON COLUMN runs.control_of IS 'For a control run: run_id of the run it is compared with';
COMMENT ON COLUMN runs.config IS 'Resolved configuration';
COMMENT ON COLUMN runs.git_commit IS 'Commit of the code';
COMMENT ON COLUMN runs.started_at IS 'When the run first started';
COMMENT ON COLUMN runs.finished_at IS 'When it completed, failed or was cancelled';
COMMENT ON COLUMN runs.prefect_flow_run_id IS 'Prefect flow run that ran it last';
COMMENT ON COLUMN runs.mlflow_run_id IS 'MLflow parent run';
COMMENT ON COLUMN runs.error IS 'Why a failed run failed';

CREATE TABLE stage_results (
    run_id VARCHAR,
    stage VARCHAR,
    unit VARCHAR,
    fingerprint VARCHAR NOT NULL,
    seconds DOUBLE NOT NULL,
    reused_from VARCHAR,
    summary JSON,
    recorded_at TIMESTAMPTZ NOT NULL DEFAULT current_timestamp,
    PRIMARY KEY (run_id, stage, unit)
);
COMMENT ON TABLE stage_results IS 'Run × stage × unit. A stage whose fingerprint is already here is not run again.';
COMMENT ON COLUMN stage_results.run_id IS 'The run';
COMMENT ON COLUMN stage_results.stage IS 'profile, filter, train, evaluate, register or report';
COMMENT ON COLUMN stage_results.unit IS 'Part of the stage that is done on its own, such as one benchmark';
COMMENT ON COLUMN stage_results.fingerprint IS 'Digest of every input of the result';
COMMENT ON COLUMN stage_results.seconds IS 'Wall time of the work';
COMMENT ON COLUMN stage_results.reused_from IS 'run_id of the run whose result was taken over';
COMMENT ON COLUMN stage_results.summary IS 'Figures and ids that later stages show or need';
COMMENT ON COLUMN stage_results.recorded_at IS 'When the row was last written';

CREATE TABLE prompts (
    prompt_id VARCHAR,
    source VARCHAR,
    domain VARCHAR NOT NULL,
    problem VARCHAR NOT NULL,
    answer VARCHAR NOT NULL,
    PRIMARY KEY (prompt_id, source)
);
COMMENT ON TABLE prompts IS 'Prompt × source. A problem with a checkable answer.';
COMMENT ON COLUMN prompts.prompt_id IS 'Stable id of the problem';
COMMENT ON COLUMN prompts.source IS 'Name of the prompt source or benchmark';
COMMENT ON COLUMN prompts.domain IS 'Field, such as math';
COMMENT ON COLUMN prompts.problem IS 'Bare statement, before suffix and chat template';
COMMENT ON COLUMN prompts.answer IS 'Reference answer';

CREATE TABLE difficulty (
    run_id VARCHAR,
    prompt_id VARCHAR,
    num_rollouts INTEGER NOT NULL,
    num_correct INTEGER NOT NULL,
    pass_rate DOUBLE NOT NULL,
    mean_tokens DOUBLE NOT NULL,
    PRIMARY KEY (run_id, prompt_id)
);
COMMENT ON TABLE difficulty IS 'Run × prompt. How often the base model solves a training prompt.';
COMMENT ON COLUMN difficulty.run_id IS 'The run';
COMMENT ON COLUMN difficulty.prompt_id IS 'The prompt';
COMMENT ON COLUMN difficulty.num_rollouts IS 'Rollouts of the base model';
COMMENT ON COLUMN difficulty.num_correct IS 'Correct ones among them';
COMMENT ON COLUMN difficulty.pass_rate IS 'num_correct / num_rollouts, 0–1';
COMMENT ON COLUMN difficulty.mean_tokens IS 'Mean length of the rollouts';

CREATE TABLE selections (
    run_id VARCHAR,
    prompt_id VARCHAR,
    subset VARCHAR NOT NULL,
    selected BOOLEAN NOT NULL,
    reason VARCHAR NOT NULL,
    PRIMARY KEY (run_id, prompt_id)
);
COMMENT ON TABLE selections IS 'Run × prompt. What the filter decided; the selected prompts form the training set.';
COMMENT ON COLUMN selections.run_id IS 'The run';
COMMENT ON COLUMN selections.prompt_id IS 'The prompt';
COMMENT ON COLUMN selections.subset IS 'easy (pass rate > 0.5) or hard; all where the rule was not applied';
COMMENT ON COLUMN selections.selected IS 'Whether the run trains on it';
COMMENT ON COLUMN selections.reason IS 'Why it was kept or left out';
