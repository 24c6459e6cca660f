CREATE TABLE promotions (
    decision_id VARCHAR PRIMARY KEY,
    model_name VARCHAR NOT NULL,
    number INTEGER NOT NULL,
    kind VARCHAR NOT NULL CHECK (kind IN ('retrain', 'promote', 'rollback')),
    decision VARCHAR NOT NULL CHECK (decision IN ('promoted', 'kept', 'rolled_back')),
    cause VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    run_id VARCHAR,
    base_model VARCHAR,
    champion_version INTEGER,
    challenger_version INTEGER,
    challenger_step INTEGER,
    champion_after INTEGER,
    previous_after INTEGER,
    num_prompts INTEGER,
    accuracy_margin DOUBLE,
    confidence DOUBLE,
    token_difference DOUBLE,
    token_ci_low DOUBLE,
    token_ci_high DOUBLE,
    token_change DOUBLE,
    token_change_ci_low DOUBLE,
    token_change_ci_high DOUBLE,
    accuracy_difference DOUBLE,
    accuracy_ci_low DOUBLE,
    accuracy_ci_high DOUBLE,
    prefect_flow_run_id VARCHAR,
    mlflow_run_id VARCHAR,
    decided_at TIMESTAMPTZ NOT NULL,
    applied_at TIMESTAMPTZ
);
COMMENT ON TABLE promotions IS 'Decision about the champion of a registered model. One a retraining, a promotion by hand or a rollback.';
COMMENT ON COLUMN promotions.decision_id IS 'model_name/number';
COMMENT ON COLUMN promotions.model_name IS 'Name in the model registry';
COMMENT ON COLUMN promotions.number IS 'Number among the decisions about the model, from 1';
COMMENT ON COLUMN promotions.kind IS 'retrain, promote (by hand) or rollback';
COMMENT ON COLUMN promotions.decision IS 'promoted, kept or rolled_back';
COMMENT ON COLUMN promotions.cause IS 'shorter or more_accurate; worse, undecided (too few prompts), no_gain, no_new_prompts or champion_changed; rollback';
COMMENT ON COLUMN promotions.reason IS 'Why, in words, with the numbers that decided';
COMMENT ON COLUMN promotions.run_id IS 'Run that trained the challenger; NULL for a rollback and where nothing was trained';
COMMENT ON COLUMN promotions.base_model IS 'What the challenger was trained from and compared with; NULL for a rollback';
COMMENT ON COLUMN promotions.champion_version IS 'Champion before the decision; NULL when there was none yet';
COMMENT ON COLUMN promotions.challenger_version IS 'Version that was judged; for a rollback the one gone back to';
COMMENT ON COLUMN promotions.challenger_step IS 'Training step of the challenger';
COMMENT ON COLUMN promotions.champion_after IS 'Version behind the alias champion after the decision';
COMMENT ON COLUMN promotions.previous_after IS 'Version behind the alias previous after the decision';
COMMENT ON COLUMN promotions.num_prompts IS 'Held-out prompts that both models answered, over all benchmarks';
COMMENT ON COLUMN promotions.accuracy_margin IS 'Loss of accuracy that had to be ruled out at every budget';
COMMENT ON COLUMN promotions.confidence IS 'Of the two-sided intervals';
COMMENT ON COLUMN promotions.token_difference IS 'Mean tokens, challenger minus champion, up to the largest budget; mean over benchmarks';
COMMENT ON COLUMN promotions.token_ci_low IS 'Lower end of its interval (paired bootstrap over prompts)';
COMMENT ON COLUMN promotions.token_ci_high IS 'Upper end';
COMMENT ON COLUMN promotions.token_change IS 'The same as a share of the champion''s mean tokens; what the gate judges';
COMMENT ON COLUMN promotions.token_change_ci_low IS 'Lower end of its interval';
COMMENT ON COLUMN promotions.token_change_ci_high IS 'Upper end; below 0 the responses are shorter';
COMMENT ON COLUMN promotions.accuracy_difference IS 'Mean@k, challenger minus champion, mean over budgets and benchmarks';
COMMENT ON COLUMN promotions.accuracy_ci_low IS 'Lower end of its interval';
COMMENT ON COLUMN promotions.accuracy_ci_high IS 'Upper end';
COMMENT ON COLUMN promotions.prefect_flow_run_id IS 'Prefect flow run that decided';
COMMENT ON COLUMN promotions.mlflow_run_id IS 'MLflow parent run of the challenger''s run';
COMMENT ON COLUMN promotions.decided_at IS 'When it was decided';
COMMENT ON COLUMN promotions.applied_at IS 'When the aliases stood as decided; NULL while the registry has still to be moved';

CREATE TABLE promotion_budgets (
    decision_id VARCHAR,
    benchmark VARCHAR,
    budget_tokens INTEGER,
    num_prompts INTEGER NOT NULL,
    champion_accuracy DOUBLE NOT NULL,
    challenger_accuracy DOUBLE NOT NULL,
    difference DOUBLE NOT NULL,
    ci_low DOUBLE NOT NULL,
    ci_high DOUBLE NOT NULL,
    passed BOOLEAN NOT NULL,
    PRIMARY KEY (decision_id, benchmark, budget_tokens)
);
COMMENT ON TABLE promotion_budgets IS 'Decision × benchmark × budget. What the gate compared.';
COMMENT ON COLUMN promotion_budgets.decision_id IS 'The decision';
COMMENT ON COLUMN promotion_budgets.benchmark IS 'Name of the benchmark';
COMMENT ON COLUMN promotion_budgets.budget_tokens IS 'Token budget';
COMMENT ON COLUMN promotion_budgets.num_prompts IS 'Prompts that both models answered';
COMMENT ON COLUMN promotion_budgets.champion_accuracy IS 'Mean@k of the champion within the budget, 0–1';
COMMENT ON COLUMN promotion_budgets.challenger_accuracy IS 'Mean@k of the challenger';
COMMENT ON COLUMN promotion_budgets.difference IS 'Challenger minus champion';
COMMENT ON COLUMN promotion_budgets.ci_low IS 'Lower end of its interval (paired bootstrap over prompts)';
COMMENT ON COLUMN promotion_budgets.ci_high IS 'Upper end';
COMMENT ON COLUMN promotion_budgets.passed IS 'Whether a loss beyond the margin is ruled out';
