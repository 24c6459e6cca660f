-- What the actors of a ray fleet did, and what befell them.
CREATE TABLE fleet_events (
    run_id VARCHAR,
    happened_at TIMESTAMPTZ,
    actor VARCHAR,
    node VARCHAR NOT NULL,
    kind VARCHAR NOT NULL CHECK (kind IN ('started', 'loaded', 'generated', 'updated', 'died', 'hung')),
    version VARCHAR NOT NULL,
    batch INTEGER,
    seconds DOUBLE,
    reason VARCHAR NOT NULL,
    PRIMARY KEY (run_id, happened_at, actor)
);
COMMENT ON TABLE fleet_events IS 'Run × time × actor. What an actor of a ray fleet did or what befell it, and when.';
COMMENT ON COLUMN fleet_events.run_id IS 'The run';
COMMENT ON COLUMN fleet_events.happened_at IS 'When it was noticed; of what takes time, when it began';
COMMENT ON COLUMN fleet_events.actor IS 'generator-NUMBER, a new number for each that is started, or trainer-RANK';
COMMENT ON COLUMN fleet_events.node IS 'Address of the node it is on; empty before it has one';
COMMENT ON COLUMN fleet_events.kind IS 'started: it can work; loaded, generated, updated: it took over weights, generated, trained; died, hung: it was lost, and what it had to generate went to others';
COMMENT ON COLUMN fleet_events.version IS 'The weights that it held';
COMMENT ON COLUMN fleet_events.batch IS 'Batch of prompts that it generated or trained on; NULL for other work';
COMMENT ON COLUMN fleet_events.seconds IS 'How long it took; NULL for what befell it';
COMMENT ON COLUMN fleet_events.reason IS 'How it was lost, in one line; else empty';
