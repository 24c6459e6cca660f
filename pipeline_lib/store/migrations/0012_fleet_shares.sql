-- Everything that a trainer rank does, not only its updates; and how much of each step every actor was at work.
ALTER TABLE fleet_events RENAME TO former_fleet_events;
CREATE TABLE fleet_events (
    run_id VARCHAR,
    happened_at TIMESTAMPTZ,
    actor VARCHAR,
    node VARCHAR NOT NULL,
    kind VARCHAR NOT NULL CHECK (kind IN ('started', 'loaded', 'generated', 'sent', 'updated', 'saved', 'died', 'hung')),
    version VARCHAR NOT NULL,
    batch INTEGER,
    seconds DOUBLE,
    reason VARCHAR NOT NULL,
    PRIMARY KEY (run_id, happened_at, actor)
);
INSERT INTO fleet_events SELECT * FROM former_fleet_events;
DROP TABLE former_fleet_events;
COMMENT ON TABLE fleet_events IS 'Run × time × actor. What an actor of a ray fleet did or what befell it, and when.';
COMMENT ON COLUMN fleet_events.run_id IS 'The run';
COMMENT ON COLUMN fleet_events.happened_at IS 'When it was noticed; of what takes time, when it began; by the clock of the actor''s node';
COMMENT ON COLUMN fleet_events.actor IS 'generator-NUMBER, a new number for each that is started, or trainer-RANK';
COMMENT ON COLUMN fleet_events.node IS 'Address of the node it is on; empty before it has one';
COMMENT ON COLUMN fleet_events.kind IS 'started: it can work; loaded, generated: it took over weights, generated; sent, updated, saved: it sent weights, trained, validated and saved a checkpoint; died, hung: it was lost, and what it had to generate went to others';
COMMENT ON COLUMN fleet_events.version IS 'The weights that it held; empty of a trainer';
COMMENT ON COLUMN fleet_events.batch IS 'Batch of prompts that it generated or trained on; NULL for other work';
COMMENT ON COLUMN fleet_events.seconds IS 'How long it took; NULL for what befell it';
COMMENT ON COLUMN fleet_events.reason IS 'How it was lost, in one line; else empty';

CREATE VIEW fleet_shares AS
WITH timed AS (
    SELECT *, happened_at + to_microseconds((1e6 * coalesce(seconds, 0))::BIGINT) AS ended_at FROM fleet_events
),
steps AS (
    SELECT run_id, batch, lag(ended_at) OVER (PARTITION BY run_id ORDER BY ended_at) AS step_began_at, ended_at AS step_ended_at
    FROM timed
    WHERE actor = 'trainer-0' AND kind IN ('started', 'updated')
    QUALIFY kind = 'updated' AND step_began_at IS NOT NULL
),
lives AS (
    SELECT
        run_id,
        actor,
        happened_at AS born_at,
        coalesce(lead(happened_at) OVER (PARTITION BY run_id, actor ORDER BY happened_at), 'infinity') AS lost_at
    FROM fleet_events
    WHERE kind IN ('started', 'died', 'hung')
    QUALIFY kind = 'started'
),
present AS (
    SELECT
        steps.*,
        actor,
        sum(epoch(least(step_ended_at, lost_at)) - epoch(greatest(step_began_at, born_at))) AS seconds
    FROM steps JOIN lives USING (run_id)
    WHERE born_at < step_ended_at AND lost_at > step_began_at
    GROUP BY ALL
),
parts AS (
    SELECT
        present.*,
        kind,
        greatest(0, epoch(least(ended_at, step_ended_at)) - epoch(greatest(happened_at, step_began_at, max(ended_at) OVER (
            PARTITION BY present.run_id, present.actor, step_began_at ORDER BY happened_at, ended_at
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        )))) AS part
    FROM present LEFT JOIN timed ON timed.run_id = present.run_id AND timed.actor = present.actor
        AND timed.seconds IS NOT NULL AND happened_at < step_ended_at AND ended_at > step_began_at
)
SELECT
    run_id,
    batch,
    step_began_at,
    step_ended_at,
    actor,
    seconds,
    coalesce(sum(part) FILTER (kind IS NOT NULL), 0) AS busy_seconds,
    coalesce(sum(part) FILTER (kind = 'generated'), 0) AS generation_seconds,
    coalesce(sum(part) FILTER (kind IN ('loaded', 'sent')), 0) AS weights_seconds,
    coalesce(sum(part) FILTER (kind = 'updated'), 0) AS update_seconds,
    coalesce(sum(part) FILTER (kind = 'saved'), 0) AS checkpoint_seconds
FROM parts
GROUP BY ALL;
COMMENT ON VIEW fleet_shares IS 'Run × step × actor of a ray fleet. How long it was at work in a step, which lasts from the end of the update before to the end of its own; two things at a time count once, as what began first.';
COMMENT ON COLUMN fleet_shares.run_id IS 'The run';
COMMENT ON COLUMN fleet_shares.batch IS 'The batch that was trained on; a second time after a restart';
COMMENT ON COLUMN fleet_shares.step_began_at IS 'End of the update before it, or when training was begun';
COMMENT ON COLUMN fleet_shares.step_ended_at IS 'End of the update';
COMMENT ON COLUMN fleet_shares.actor IS 'generator-NUMBER or trainer-RANK';
COMMENT ON COLUMN fleet_shares.seconds IS 'How long the actor was there: all of the step, unless it came or was lost in it';
COMMENT ON COLUMN fleet_shares.busy_seconds IS 'How long it was at work: the sum of what follows';
COMMENT ON COLUMN fleet_shares.generation_seconds IS 'How long it generated, for whatever batch';
COMMENT ON COLUMN fleet_shares.weights_seconds IS 'How long it took over weights; a trainer: how long it sent them';
COMMENT ON COLUMN fleet_shares.update_seconds IS 'How long it trained';
COMMENT ON COLUMN fleet_shares.checkpoint_seconds IS 'How long it validated and saved a checkpoint';
