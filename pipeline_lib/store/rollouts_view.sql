-- Not a migration: the absolute path is in the definition, so the view is made again whenever the home folder has moved.
-- A migration that changes the view's columns drops the view; opening the store then makes it anew from this file.
-- Files of both kinds: compacted ones hold the rollout_id and are read by the run and stage in their paths.
CREATE OR REPLACE VIEW rollouts AS
SELECT
    rollout_id, run_id, stage, step, model, source, prompt_id, sample_index, num_tokens, finish_reason, answer, correct,
    grade_reason, reward, advantage, masked, policy_lag, policy_version, mean_logprob, num_prompt_tokens, answer_appears,
    tokens_to_answer, restarts, repeated_fraction, text
FROM read_parquet($compacted_source, union_by_name = true, hive_partitioning = true, hive_types_autocast = false)
UNION ALL
SELECT
    concat_ws('/', run_id, stage, model || '-' || step, prompt_id, sample_index) AS rollout_id,
    run_id, stage, step, model, source, prompt_id, sample_index, num_tokens, finish_reason, answer, correct, grade_reason,
    reward, advantage, masked, policy_lag, policy_version, mean_logprob, num_prompt_tokens, answer_appears, tokens_to_answer,
    restarts, repeated_fraction, text
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
COMMENT ON COLUMN rollouts.num_prompt_tokens IS 'Length of the prompt as the model saw it; NULL where it was not recorded';
COMMENT ON COLUMN rollouts.answer_appears IS 'Whether the right answer stands anywhere in the response; NULL where that cannot be told: long gold answers, code';
COMMENT ON COLUMN rollouts.tokens_to_answer IS 'Tokens up to where the right answer first stands, in proportion to characters: a lower bound of what was needed; NULL where it does not appear';
COMMENT ON COLUMN rollouts.restarts IS 'How often the response doubts itself, checks or tries another way, by a list of phrases; NULL in homes older than the column';
COMMENT ON COLUMN rollouts.repeated_fraction IS 'Share of its words that stand in a run of sixteen that occurred before in it, 0–1';
COMMENT ON COLUMN rollouts.text IS 'The response';
CREATE OR REPLACE VIEW rollout_anatomy AS
SELECT
    rollout_id, run_id, stage, step, model, source, prompt_id, sample_index, correct, num_tokens, finish_reason = 'length' AS cut,
    answer_appears, tokens_to_answer, num_tokens - tokens_to_answer AS tokens_after_answer, restarts, repeated_fraction
FROM rollouts;
COMMENT ON VIEW rollout_anatomy IS 'Rollout of any stage. Where its tokens go, told from its text alone.';
COMMENT ON COLUMN rollout_anatomy.rollout_id IS 'run_id/stage/model-step/prompt_id/sample_index';
COMMENT ON COLUMN rollout_anatomy.run_id IS 'The run';
COMMENT ON COLUMN rollout_anatomy.stage IS 'profile, train or evaluate';
COMMENT ON COLUMN rollout_anatomy.step IS 'Training step of the model; 0 is the model before RL';
COMMENT ON COLUMN rollout_anatomy.model IS 'The model that generated it';
COMMENT ON COLUMN rollout_anatomy.source IS 'Name of the prompt source or benchmark';
COMMENT ON COLUMN rollout_anatomy.prompt_id IS 'The prompt';
COMMENT ON COLUMN rollout_anatomy.sample_index IS 'Number among the rollouts of the prompt, from 0';
COMMENT ON COLUMN rollout_anatomy.correct IS 'Whether the answer is right';
COMMENT ON COLUMN rollout_anatomy.num_tokens IS 'Length of the response, end token included';
COMMENT ON COLUMN rollout_anatomy.answer_appears IS 'Whether the right answer stands anywhere in the response; NULL where that cannot be told: long gold answers, code';
COMMENT ON COLUMN rollout_anatomy.tokens_to_answer IS 'Tokens up to where the right answer first stands, in proportion to characters: a lower bound of what was needed; NULL where it does not appear';
COMMENT ON COLUMN rollout_anatomy.restarts IS 'How often the response doubts itself, checks or tries another way, by a list of phrases; NULL in homes older than the column';
COMMENT ON COLUMN rollout_anatomy.repeated_fraction IS 'Share of its words that stand in a run of sixteen that occurred before in it, 0–1';
COMMENT ON COLUMN rollout_anatomy.cut IS 'Whether it was cut at its limit';
COMMENT ON COLUMN rollout_anatomy.tokens_after_answer IS 'Tokens behind the first appearance of the right answer (overthinking): at most so many were not needed';
CREATE OR REPLACE VIEW anatomy_by_budget AS
WITH shown AS (
    SELECT
        anatomy.*, budget_tokens, least(num_tokens, budget_tokens) AS tokens,
        correct AND NOT cut AND num_tokens <= coalesce(budget_tokens, num_tokens) AS is_right,
        cut OR num_tokens > coalesce(budget_tokens, num_tokens) AS is_cut,
        answer_appears AND tokens_to_answer <= coalesce(budget_tokens, num_tokens) AS appears
    FROM rollout_anatomy AS anatomy
    LEFT JOIN (SELECT DISTINCT run_id, 'evaluate' AS stage, budget_tokens FROM budget_results) AS budgets USING (run_id, stage)
)
SELECT
    run_id, stage, step, model, source, budget_tokens, is_right AS correct, count(*)::INTEGER AS num_rollouts, avg(tokens) AS mean_tokens,
    avg(appears::INTEGER) AS answer_appears_fraction, avg(tokens_to_answer) FILTER (appears) AS tokens_to_answer,
    avg(tokens - tokens_to_answer) FILTER (appears) AS tokens_after_answer, avg(is_cut::INTEGER) AS cut_fraction,
    avg((appears AND is_cut)::INTEGER) FILTER (appears IS NOT NULL) AS cut_after_answer_fraction, avg(restarts) AS restarts,
    avg(repeated_fraction) AS repeated_fraction
FROM shown
GROUP BY ALL;
COMMENT ON VIEW anatomy_by_budget IS 'Run × stage × step × model × source × budget × correctness. Where the tokens went; means over rollouts.';
COMMENT ON COLUMN anatomy_by_budget.run_id IS 'The run';
COMMENT ON COLUMN anatomy_by_budget.stage IS 'profile, train or evaluate';
COMMENT ON COLUMN anatomy_by_budget.step IS 'Training step of the model; 0 is the model before RL';
COMMENT ON COLUMN anatomy_by_budget.model IS 'The model that generated it';
COMMENT ON COLUMN anatomy_by_budget.source IS 'Name of the prompt source or benchmark';
COMMENT ON COLUMN anatomy_by_budget.budget_tokens IS 'Of stage evaluate, every budget of its sweep; NULL in the other stages: as generated';
COMMENT ON COLUMN anatomy_by_budget.correct IS 'Whether they are right within the budget';
COMMENT ON COLUMN anatomy_by_budget.num_rollouts IS 'How many these are';
COMMENT ON COLUMN anatomy_by_budget.mean_tokens IS 'Mean length, cut at the budget';
COMMENT ON COLUMN anatomy_by_budget.answer_appears_fraction IS 'Share in which the right answer stands within the budget, of those where that can be told';
COMMENT ON COLUMN anatomy_by_budget.tokens_to_answer IS 'Mean tokens up to there, over those where it appears';
COMMENT ON COLUMN anatomy_by_budget.tokens_after_answer IS 'Mean tokens behind it, up to the budget';
COMMENT ON COLUMN anatomy_by_budget.cut_fraction IS 'Share that had not ended within the budget';
COMMENT ON COLUMN anatomy_by_budget.cut_after_answer_fraction IS 'Share that had the right answer within the budget and was cut all the same, of those where that can be told';
COMMENT ON COLUMN anatomy_by_budget.restarts IS 'Mean restarts of the whole responses, whatever the budget';
COMMENT ON COLUMN anatomy_by_budget.repeated_fraction IS 'Mean repeated_fraction of the whole responses';
CREATE OR REPLACE VIEW cost_per_correct AS
WITH priced AS (
    SELECT
        run_id,
        (config->>'$$.prices.input_per_million_tokens')::DOUBLE / 1e6 AS per_input,
        (config->>'$$.prices.output_per_million_tokens')::DOUBLE / 1e6 AS per_output,
        (config->>'$$.prices.per_gpu_hour')::DOUBLE / 3600 * CASE
            WHEN config->>'$$.fleet.kind' = 'ray' AND config->>'$$.fleet.layout' = 'split'
            THEN (config->>'$$.fleet.generators')::DOUBLE * (config->>'$$.generation.tensor_parallel')::DOUBLE
            ELSE (config->>'$$.compute.num_processes')::DOUBLE
        END / (
            SELECT sum(mean_tokens * num_rollouts) / nullif(sum(mean_tokens * num_rollouts / nullif(tokens_per_second, 0)), 0)
            FROM training_steps WHERE training_steps.run_id = runs.run_id
        ) AS per_generated,
        config->>'$$.prices.currency' AS currency
    FROM runs
)
SELECT
    run_id, model, step, benchmark, budget_tokens, round(mean_at_k * num_prompts * num_samples)::INTEGER AS num_correct,
    mean_tokens / nullif(mean_at_k, 0) AS tokens_per_correct,
    1000 / nullif(mean_at_k, 0) * CASE
        WHEN per_generated IS NOT NULL THEN mean_tokens * per_generated
        WHEN per_input IS NOT NULL OR per_output IS NOT NULL
            THEN mean_tokens * coalesce(per_output, 0) + (CASE WHEN per_input > 0 THEN mean_prompt_tokens ELSE 0 END) * coalesce(per_input, 0)
    END AS cost_per_1000_correct,
    CASE WHEN coalesce(per_input, per_output, per_generated) IS NOT NULL THEN currency END AS currency
FROM budget_results
JOIN priced USING (run_id);
COMMENT ON VIEW cost_per_correct IS 'Run × model × step × benchmark × budget. What a right answer costs.';
COMMENT ON COLUMN cost_per_correct.run_id IS 'The run';
COMMENT ON COLUMN cost_per_correct.model IS 'The model evaluated';
COMMENT ON COLUMN cost_per_correct.step IS 'Training step of the model; 0 is the model before RL';
COMMENT ON COLUMN cost_per_correct.benchmark IS 'Benchmark: prompts.source of its prompts';
COMMENT ON COLUMN cost_per_correct.budget_tokens IS 'A rollout counts when finished and correct within this many tokens';
COMMENT ON COLUMN cost_per_correct.num_correct IS 'Right responses';
COMMENT ON COLUMN cost_per_correct.tokens_per_correct IS 'Tokens of all responses, cut at the budget, for each right one; NULL without any';
COMMENT ON COLUMN cost_per_correct.cost_per_1000_correct IS 'By the prices of the run''s configuration; by GPU hours at the mean speed at which training generated. NULL without prices, or what they count';
COMMENT ON COLUMN cost_per_correct.currency IS 'Of the prices; NULL without any';
