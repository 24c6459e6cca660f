"""Busy shares of a fleet's actors from events in a real store, and what the report and the live page make of them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.records import FleetEvent
from pipeline_lib.report.data import ReportData, RunFacts
from pipeline_lib.report.fleet import batches, busy_table, collect_fleet, loss_sentences
from pipeline_lib.report.html import write_report
from pipeline_lib.store.database import Store
from tasks.training_display import fleet_markdown

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
# Seconds since the start, actor, what it did, how long, batch.
EVENTS: list[tuple[float, str, str, float | None, int | None]] = [
    (-2, "generator-0", "started", None, None),
    (-1, "generator-1", "started", None, None),
    (0, "trainer-0", "started", None, None),
    (0.001, "trainer-0", "sent", 1.0, None),
    (0, "generator-0", "loaded", 1.0, None),
    (1, "generator-0", "generated", 4.0, 1),
    (1, "generator-1", "generated", 2.0, 1),
    (3, "generator-0", "generated", 4.0, 2),  # beside the first for two seconds
    (7, "trainer-0", "updated", 3.0, 1),
    (8, "generator-0", "generated", 4.0, 2),  # two seconds of them in the next step
    (10, "trainer-0", "saved", 2.0, None),
    (14, "trainer-0", "updated", 6.0, 2),
    (15, "generator-1", "hung", None, None),
    (16, "generator-2", "started", None, None),
    (18, "generator-2", "generated", 7.0, 3),
    (21, "trainer-0", "died", None, None),
    (31, "trainer-0", "started", None, None),
    (32, "generator-0", "generated", 1.0, 2),
    (33, "trainer-0", "updated", 2.0, 2),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("home"))
    lost = {"hung": "it was <silent>", "died": "killed"}
    for run_id in ("run", "another"):
        events = [
            FleetEvent(
                run_id, START + timedelta(seconds=at), actor, "node", kind, "step 3 (6 optimiser steps)", batch, seconds,
                lost.get(kind, ""),
            )
            for at, actor, kind, seconds, batch in EVENTS
        ]  # fmt: skip
        store.write("fleet_events", events)
    return store


def test_spans_are_cut_at_the_borders_of_steps_and_count_once(store: Store) -> None:
    fleet = collect_fleet(store, "run")
    assert fleet
    assert [(batch, (ended - began).total_seconds()) for began, ended, batch in fleet.steps] == [(1, 10), (2, 10), (2, 4)]
    parts = ("seconds", "busy_seconds", "generation_seconds", "weights_seconds", "update_seconds", "checkpoint_seconds")
    found = {(row["step_began_at"] - START, row["actor"]): [row[part] for part in parts] for row in fleet.shares}
    expected = {
        (0, "generator-0"): [10, 9, 8, 1, 0, 0],
        (0, "generator-1"): [10, 2, 2, 0, 0, 0],
        (0, "trainer-0"): [10, 4, 0, 1, 3, 0],
        (10, "generator-0"): [10, 2, 2, 0, 0, 0],
        (10, "generator-1"): [5, 0, 0, 0, 0, 0],
        (10, "generator-2"): [4, 2, 2, 0, 0, 0],
        (10, "trainer-0"): [10, 8, 0, 0, 6, 2],
        (31, "generator-0"): [4, 1, 1, 0, 0, 0],
        (31, "generator-2"): [4, 0, 0, 0, 0, 0],
        (31, "trainer-0"): [4, 2, 0, 0, 2, 0],
    }
    assert {(at.total_seconds(), actor) for at, actor in found} == set(expected)
    for (at, actor), row in found.items():
        assert row == pytest.approx(expected[at.total_seconds(), actor], abs=1e-5), (at, actor)


def test_the_queue_counts_what_is_generated_and_what_waits(store: Store) -> None:
    fleet = collect_fleet(store, "run")
    assert fleet
    # Batch 1 is generated from 1 to 5 and waits to 7, batch 2 from 3 to 12 and to 14; again from 32 on.
    expected = [(1.1, 0.2), (0.2, 0.2), (0.25, 0.0)]
    assert [value for step in batches(fleet) for value in step] == pytest.approx([value for step in expected for value in step])


def test_the_newest_steps_alone(store: Store) -> None:
    fleet = collect_fleet(store, "run", newest=2)
    assert fleet and [batch for _, _, batch in fleet.steps] == [2, 2]
    busy = busy_table(fleet)
    assert [row[0] for row in busy.rows] == ["generator-0", "generator-1", "generator-2", "trainer-0"]
    assert busy.rows[2][1:] == ["node", "25.0 %", "25.0 %", "", "", "", "75.0 %", "step 3"]
    assert loss_sentences(fleet) == [
        "generator-1 on node hung at 2026-01-01 12:00:15: it was <silent>", "trainer-0 on node died at 2026-01-01 12:00:21: killed",
    ]  # fmt: skip
    text = fleet_markdown(fleet, {"step": 2, "policy_lag": 1.25, "largest_policy_lag": 3}, num_ahead=1)
    assert "The rollouts of step 2 were 1.2 optimiser steps old, at most 3. Actors lost so far: 2." in text
    assert "In the step of batch 2, 0.2 batches" in text and r"it was \<silent>" in text


def test_the_report_has_a_fleet_only_where_there_was_one(store: Store, tmp_path: Path) -> None:
    assert collect_fleet(store, "embedded") is None

    def page(fleet: Any) -> str:
        data = ReportData(RunFacts("run", "run", "tiny", "completed"), fleet=fleet)
        return write_report(data, tmp_path).read_text(encoding="utf-8")

    with_fleet = page(collect_fleet(store, "run"))
    assert 'id="fleet_steps"' in with_fleet and "it was &lt;silent&gt;" in with_fleet
    assert with_fleet.count("data:image/png") == 2 and (tmp_path / "fleet_course.png").exists()
    without = page(None)
    assert "fleet" not in without and not list(tmp_path.glob("fleet*"))
