ALTER TABLE prompts ADD COLUMN tests VARCHAR;
COMMENT ON COLUMN prompts.tests IS 'Code only: the tests that decide (JSON)';
ALTER TABLE prompts ADD COLUMN tolerance DOUBLE;
COMMENT ON COLUMN prompts.tolerance IS 'Absolute error allowed in the answer; NULL where the problem names none';
COMMENT ON COLUMN prompts.answer IS 'Reference answer; empty for code that has tests alone';

ALTER TABLE difficulty ALTER COLUMN mean_tokens DROP NOT NULL;
COMMENT ON COLUMN difficulty.mean_tokens IS 'Mean length of the rollouts; NULL when only the pass rate was recorded';
COMMENT ON COLUMN difficulty.num_rollouts IS 'Rollouts of the base model, or behind the recorded or imported pass rate';

ALTER TABLE selections ADD COLUMN cause VARCHAR DEFAULT 'pass_rate';
COMMENT ON COLUMN selections.cause IS 'What decided: pass_rate, no_pass_rate, or what cleaning found, such as normalised_duplicate';
COMMENT ON COLUMN selections.subset IS 'easy (pass rate > 0.5) or hard; all where there is no pass rate';
