"""A home that has moved: its databases lead to where it is now. (The whole of it, with models, is in tests/e2e/test_docs.py.)"""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline_lib.records import CheckpointRecord, StageResult
from pipeline_lib.runs.relocation import MLFLOW_ADDRESSES, relocate_home
from pipeline_lib.services.running import note_services
from pipeline_lib.store.database import Store

FORMER = Path("/srv/former")


@pytest.fixture
def moved(home: Path) -> Path:
    """A home whose rows lead to another folder, and one row that leads elsewhere altogether."""
    store = Store(home)
    store.write("runs", [{"run_id": "run-1", "name": "run", "status": "completed", "started_at": datetime.now(UTC)}])
    store.write(
        "checkpoints",
        [
            CheckpointRecord("run-1", 1, f"{FORMER}/checkpoints/run-1/step-00001", False, 0.5),
            CheckpointRecord("run-1", 2, f"{FORMER}-else/checkpoints/run-1/step-00002", True, 0.75),
        ],
    )
    summary = {"path": f"{FORMER}/reports/run-1/report.html", "pages": 1}
    store.write("stage_results", [StageResult("run-1", "report", "", "print", 1.0, None, summary)])
    return home


def paths(home: Path) -> list[str]:
    return [row[0] for row in Store(home).query("select path from checkpoints order by step").rows]


def test_paths_below_the_former_home_are_turned_and_others_are_not(moved: Path) -> None:
    changed = relocate_home(moved, FORMER)
    assert changed == {"checkpoints.path": 1, "stage_results.summary": 1}
    assert paths(moved) == [f"{moved}/checkpoints/run-1/step-00001", f"{FORMER}-else/checkpoints/run-1/step-00002"]
    [row] = Store(moved).named("stage_result_paths")
    assert row["summary"] == {"path": f"{moved}/reports/run-1/report.html", "pages": 1}
    kept = Store(moved).query("select step, is_best from checkpoints order by step").rows
    assert kept == [(1, False), (2, True)]


def test_it_can_be_repeated(moved: Path) -> None:
    relocate_home(moved, FORMER)
    before = paths(moved)
    assert set(relocate_home(moved, FORMER).values()) == {0}
    assert paths(moved) == before


def test_it_can_be_repeated_where_the_home_lies_in_its_former_place(moved: Path) -> None:
    former = moved.parent
    Store(moved).write("checkpoints", [CheckpointRecord("run-1", 1, f"{former}/checkpoints/run-1/step-00001", False, 0.5)])
    with closing(sqlite3.connect(moved / "mlflow.db")) as database, database:
        for table, column in MLFLOW_ADDRESSES:
            database.execute(f"CREATE TABLE IF NOT EXISTS {table} (artifact_location, artifact_uri, source, storage_location)")
            database.execute(f"INSERT INTO {table} ({column}) VALUES ('{former.as_uri()}/mlartifacts/1')")
    assert relocate_home(moved, former)["checkpoints.path"] == 1
    assert set(relocate_home(moved, former).values()) == {0}
    assert paths(moved)[0] == f"{moved}/checkpoints/run-1/step-00001"
    with closing(sqlite3.connect(moved / "mlflow.db")) as database:
        assert database.execute("SELECT artifact_uri FROM runs").fetchall() == [(f"{moved.as_uri()}/mlartifacts/1",)]


def test_what_is_not_a_moved_home_is_refused(moved: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no laconic\.duckdb"):
        relocate_home(tmp_path / "nothing", FORMER)
    with pytest.raises(ValueError, match="absolute"):
        relocate_home(moved, Path("former"))
    note_services(moved, [], "http://127.0.0.1:1", "http://127.0.0.1:2", is_ready=True)
    with pytest.raises(ValueError, match="is up"):
        relocate_home(moved, FORMER)
