-- Where the tokens of a rollout go, and those of its prompt: the view of older homes lacks the columns.
DROP VIEW IF EXISTS rollouts;
ALTER TABLE budget_results ADD COLUMN mean_prompt_tokens DOUBLE;
COMMENT ON COLUMN budget_results.mean_prompt_tokens IS 'Mean length of the prompts, as the model saw them; NULL where it was not recorded';
