-- What befell a run while it was worked on, and did not end it or did.
CREATE TABLE run_events (
    run_id VARCHAR,
    happened_at TIMESTAMPTZ,
    kind VARCHAR NOT NULL CHECK (kind IN ('worker_restarted', 'worker_given_up')),
    stage VARCHAR NOT NULL,
    done INTEGER NOT NULL,
    reason VARCHAR NOT NULL,
    PRIMARY KEY (run_id, happened_at)
);
COMMENT ON TABLE run_events IS 'Run × time. A worker that died while a stage was worked on.';
COMMENT ON COLUMN run_events.run_id IS 'The run';
COMMENT ON COLUMN run_events.happened_at IS 'When it was noticed';
COMMENT ON COLUMN run_events.kind IS 'worker_restarted: a new one went on from the newest checkpoint or shard; worker_given_up: the stage failed by it';
COMMENT ON COLUMN run_events.stage IS 'profile, train or evaluate';
COMMENT ON COLUMN run_events.done IS 'What the stage had done by then: the last step of training, or shards of rollouts';
COMMENT ON COLUMN run_events.reason IS 'How the worker ended, in one line';
