-- What models that are served elsewhere were asked, and what that cost.
CREATE TABLE endpoint_usage (
    run_id VARCHAR,
    stage VARCHAR,
    started_at TIMESTAMPTZ,
    model VARCHAR NOT NULL,
    requests INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    seconds DOUBLE NOT NULL,
    cost DOUBLE,
    currency VARCHAR NOT NULL,
    PRIMARY KEY (run_id, stage, started_at)
);
COMMENT ON TABLE endpoint_usage IS 'Run × stage × sitting. What an endpoint was asked for, by every command that worked on the stage; what a killed command asked in its last seconds may be missing.';
COMMENT ON COLUMN endpoint_usage.run_id IS 'The run';
COMMENT ON COLUMN endpoint_usage.stage IS 'profile or evaluate';
COMMENT ON COLUMN endpoint_usage.started_at IS 'When the command began to ask';
COMMENT ON COLUMN endpoint_usage.model IS 'The model, as the endpoint calls it';
COMMENT ON COLUMN endpoint_usage.requests IS 'Requests sent, also those that failed';
COMMENT ON COLUMN endpoint_usage.retries IS 'Of these, the ones sent again after a failure';
COMMENT ON COLUMN endpoint_usage.input_tokens IS 'Prompt tokens of the answers that came, as the endpoint counts them';
COMMENT ON COLUMN endpoint_usage.output_tokens IS 'Response tokens of the answers that came, also of those that a later command asked for again';
COMMENT ON COLUMN endpoint_usage.seconds IS 'From the first request to the last answer';
COMMENT ON COLUMN endpoint_usage.cost IS 'Tokens at the prices of [prices] as they were then; NULL where no price of tokens was configured';
COMMENT ON COLUMN endpoint_usage.currency IS 'Of the cost';
