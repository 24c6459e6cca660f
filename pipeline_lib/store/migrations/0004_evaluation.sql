CREATE TABLE budget_results (
    run_id VARCHAR,
    model VARCHAR,
    step INTEGER,
    benchmark VARCHAR,
    budget_tokens INTEGER,
    num_prompts INTEGER NOT NULL,
    num_samples INTEGER NOT NULL,
    mean_at_k DOUBLE NOT NULL,
    pass_at_k DOUBLE NOT NULL,
    ci_low DOUBLE NOT NULL,
    ci_high DOUBLE NOT NULL,
    mean_tokens DOUBLE NOT NULL,
    mean_tokens_correct DOUBLE,
    mean_tokens_incorrect DOUBLE,
    truncated_fraction DOUBLE NOT NULL,
    PRIMARY KEY (run_id, model, step, benchmark, budget_tokens)
);
COMMENT ON TABLE budget_results IS 'Run × model × step × benchmark × budget. Accuracy and length at one token budget.';
COMMENT ON COLUMN budget_results.run_id IS 'The run';
COMMENT ON COLUMN budget_results.model IS 'The model evaluated';
COMMENT ON COLUMN budget_results.step IS 'Training step of the model; 0 is the model before RL';
COMMENT ON COLUMN budget_results.benchmark IS 'Benchmark: prompts.source of its prompts';
COMMENT ON COLUMN budget_results.budget_tokens IS 'A rollout counts when finished and correct within this many tokens';
COMMENT ON COLUMN budget_results.num_prompts IS 'Prompts in the benchmark';
COMMENT ON COLUMN budget_results.num_samples IS 'k: samples a prompt';
COMMENT ON COLUMN budget_results.mean_at_k IS 'Mean accuracy over the samples, 0–1';
COMMENT ON COLUMN budget_results.pass_at_k IS 'Share of prompts with a correct sample among k (unbiased), 0–1';
COMMENT ON COLUMN budget_results.ci_low IS 'Lower end of the 95 % interval of mean_at_k';
COMMENT ON COLUMN budget_results.ci_high IS 'Upper end of the 95 % interval of mean_at_k';
COMMENT ON COLUMN budget_results.mean_tokens IS 'Mean length, cut at the budget';
COMMENT ON COLUMN budget_results.mean_tokens_correct IS 'Mean length of the correct samples; NULL without any';
COMMENT ON COLUMN budget_results.mean_tokens_incorrect IS 'Mean length of the incorrect samples; NULL without any';
COMMENT ON COLUMN budget_results.truncated_fraction IS 'Share of samples cut at the budget';
