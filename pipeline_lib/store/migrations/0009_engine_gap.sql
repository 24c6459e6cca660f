-- How far engine and trainer are apart over the tokens that a step trained on, not at the worst of them alone.
ALTER TABLE training_steps ADD COLUMN logprob_gap_mean DOUBLE;
COMMENT ON COLUMN training_steps.logprob_gap_mean IS 'Mean difference of engine and trainer log-probs over the trained tokens (nats, absolute); NULL without any';
ALTER TABLE training_steps ADD COLUMN logprob_gap_k3 DOUBLE;
COMMENT ON COLUMN training_steps.logprob_gap_k3 IS 'Mean of r - log r - 1 over the trained tokens, r = trainer / engine probability: estimates the KL divergence of the trainer from the engine (nats)';
ALTER TABLE training_steps ADD COLUMN logprob_gap_p999 DOUBLE;
COMMENT ON COLUMN training_steps.logprob_gap_p999 IS 'What 99.9 % of the trained tokens'' log-prob differences are below (nats, absolute; from a histogram, 2 % wide)';
ALTER TABLE training_steps ADD COLUMN engine_ratio_outside_fraction DOUBLE;
COMMENT ON COLUMN training_steps.engine_ratio_outside_fraction IS 'Share of trained tokens whose trainer / engine ratio is outside 0.5 to 2';
COMMENT ON COLUMN training_steps.logprob_gap IS 'Largest difference of engine and trainer log-probs over the trained tokens and a few after the weight sync (nats); grows with their number';
COMMENT ON COLUMN alarms.kind IS 'entropy_spike, length_collapse, length_rebound, reward_starvation or engine_gap';
