"""What the actors of a run's Ray fleet did in its steps, in figures; the pictures are drawn in `fleet_pictures`."""

import re

import numpy as np

from pipeline_lib.report.canvas import COLOURS
from pipeline_lib.report.data import ExtraTable, FleetRecord, Row, grouped
from pipeline_lib.report.summary import hundredths
from pipeline_lib.store.database import Store

# What a part of an actor's time is called, its column of `fleet_shares`, the kinds of `fleet_events`, and its colour.
PARTS = (
    ("generation", "generation_seconds", ("generated",), COLOURS[5]),
    ("weights", "weights_seconds", ("loaded", "sent"), COLOURS[4]),
    ("update", "update_seconds", ("updated",), COLOURS[2]),
    ("checkpoint", "checkpoint_seconds", ("saved",), COLOURS[3]),
)
MOST_LOSSES_SHOWN = 20


def batches(fleet: FleetRecord) -> list[tuple[float, float]]:
    """How many batches were being generated, and how many were ready but not trained on, on average over each step."""
    starts = [start(event) for event in fleet.events if (event["actor"], event["kind"]) == ("trainer-0", "started")]
    by_batch = grouped(fleet.events, "batch")
    spans = []
    for _, ended_at, batch in fleet.steps:
        # What was generated before training was begun anew is not what was trained on.
        begun = max((at for at in starts if at < ended_at.timestamp()), default=0.0)
        own = [event for event in by_batch[batch] if event["happened_at"] < ended_at and start(event) >= begun]
        update = max(start(event) for event in own if event["kind"] == "updated")
        parts = [event for event in own if event["kind"] == "generated" and start(event) < update]
        ready = min(max(map(end, parts), default=update), update)
        spans.append((min(map(start, parts), default=ready), ready, update))
    begins, ready, updates = np.array(spans).T
    borders = [(began_at.timestamp(), ended_at.timestamp()) for began_at, ended_at, _ in fleet.steps]
    return [
        (
            float((ready.clip(a, b) - begins.clip(a, b)).sum()) / (b - a),
            float((updates.clip(a, b) - ready.clip(a, b)).sum()) / (b - a),
        )
        for a, b in borders
    ]


def start(event: Row) -> float:
    """Unix time in seconds."""
    return float(event["happened_at"].timestamp())


def end(event: Row) -> float:
    return start(event) + (event["seconds"] or 0.0)


def version_step(version: str) -> int | None:
    """The training step after which weights of a version were sent; None for others."""
    found = re.match(r"step (\d+)", version)
    return int(found[1]) if found else None


def collect_fleet(store: Store, run_id: str, newest: int | None = None) -> FleetRecord | None:
    """What the fleet of a run did, with the lags of its rollouts; or in its newest steps, without. None where there are no steps."""
    if not (shares := store.named("fleet_shares_of_run", run_id=run_id, num_steps=newest or 1 << 30)):
        return None
    lags = store.named("policy_lags_of_run", run_id=run_id) if newest is None else ()
    return FleetRecord(store.named("fleet_events_of_run", run_id=run_id), shares, lags)


def busy_table(fleet: FleetRecord) -> ExtraTable:
    """How each actor's time divides."""
    newest = {event["actor"]: event for event in fleet.events}
    held = {event["actor"]: step for event in fleet.events if (step := version_step(event["version"])) is not None}
    rows = []
    for actor in fleet.actors:
        own = [row for row in fleet.shares if row["actor"] == actor]
        seconds = sum(row["seconds"] for row in own)
        busy, *parts = (
            sum(row[column] for row in own) / seconds for column in ("busy_seconds", *(column for _, column, _, _ in PARTS))
        )
        shares = [f"{hundredths(share)} %" if share else "" for share in (busy, *parts, 1 - busy)]
        rows.append([actor, newest[actor]["node"], *shares, f"step {held[actor]}" if actor in held else ""])
    columns = ["actor", "node", "busy", *(name for name, *_ in PARTS), "idle", "weights held"]
    note = f"Shares of the time of {len(fleet.steps)} steps in which the actor was there."
    return ExtraTable("How busy the fleet was", columns, rows, note)


def loss_sentences(fleet: FleetRecord) -> list[str]:
    """A sentence for each actor that was lost, the last ones of many."""
    return [
        f"{event['actor']} on {event['node'] or 'no node yet'} {event['kind']} at {event['happened_at']:%Y-%m-%d %H:%M:%S}: "
        f"{event['reason']}"
        for event in fleet.losses[-MOST_LOSSES_SHOWN:]
    ]
