"""Rollout files that are not whole are named; what does not need them answers, and a stage makes its own anew."""

import json
import logging
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stored_runs import write_runs
from typer.testing import CliRunner

from pipeline_lib.config import RunConfig
from pipeline_lib.runs.rollout_examples import interesting_rollouts, view_rollout
from pipeline_lib.store.compaction import schema_files
from pipeline_lib.store.database import Store
from pipeline_lib.store.rollout_files import damage_of, whole_groups

DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"garbage" * 100),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "halved": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "other types": lambda path: pq.write_table(pa.table({"run_id": [[1]], "step": [{"a": 1}]}), path),
    "pages": lambda path: path.write_bytes(b"PAR1" + b"\xa5" * 400 + path.read_bytes()[404:]),
}


@pytest.fixture
def runs(home: Path) -> tuple[RunConfig, RunConfig]:
    return write_runs(home)


def damaged(home: Path, run: RunConfig, stage: str = "evaluate", how: str = "truncated") -> Path:
    path = max((home / "rollouts" / run.run_id / stage).glob("*.parquet"))
    DAMAGES[how](path)
    return path


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_file_is_named_and_everything_else_answers(
    home: Path, runs: tuple[RunConfig, RunConfig], how: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    one, two = runs
    store = Store(home)
    whole = store.query("select sum(length(text)) from rollouts where run_id = $run_id", {"run_id": one.run_id}).rows
    path = damaged(home, two, how=how)
    store = Store(home)
    with caplog.at_level(logging.WARNING):
        assert (
            store.query("select sum(length(text)) from rollouts where run_id = $run_id", {"run_id": one.run_id}).rows == whole
        )
        assert store.query("select count(*) from rollouts where length(run_id || stage || text) > 0").rows == [(36,)]
    [warning] = [record.getMessage() for record in caplog.records]
    assert str(path) in warning and "damaged" in warning and "\n" not in warning
    assert store.named("length_samples", run_ids=[one.run_id])
    assert interesting_rollouts(store, one.run_id)[1]
    assert view_rollout(store, f"{one.run_id}/evaluate/builtin:tiny-0/p1/0").shown
    exported = store.export(tmp_path / "out", ["rollouts", "runs"])
    assert pq.read_table(exported[0]).num_rows == 36
    if how != "pages":  # these columns' pages are whole
        with pytest.raises(ValueError, match="is damaged") as raised:
            store.named("length_samples", run_ids=[one.run_id, two.run_id])
        assert str(path) in str(raised.value) and "\n" not in str(raised.value)
    path.unlink()
    assert Store(home).query("select count(*) from rollouts").rows == [(36,)]
    assert store.query("select count(*) from duckdb_views() where view_name = 'rollouts'").rows == [(1,)]


def test_a_mistake_in_a_query_is_not_taken_for_damage(home: Path, runs: tuple[RunConfig, RunConfig]) -> None:
    damaged(home, runs[1])
    with pytest.raises(ValueError, match="the query failed: Binder Error"):
        Store(home).query("select no_such_column from runs")
    with pytest.raises(ValueError, match="no_such_column"):
        Store(home).query("select no_such_column from rollouts")


def test_the_file_that_carries_the_columns_is_written_anew(home: Path, runs: tuple[RunConfig, RunConfig]) -> None:
    for schema_file in schema_files(home / "rollouts"):
        schema_file.write_bytes(b"")
        assert Store(home).query("select count(*) from rollouts").rows == [(42,)]
        assert damage_of(schema_file, "pages") is None


def test_commands_name_it_on_stderr_only(home: Path, runs: tuple[RunConfig, RunConfig]) -> None:
    from flows.cli import app

    damaged(home, runs[1])
    done = CliRunner().invoke(app, ["sql", "select count(*) as n from rollouts", "--format", "json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == [{"n": 36}]


@pytest.mark.parametrize("how", [*DAMAGES, "too few"])
def test_a_damaged_shard_is_not_trusted_by_an_interrupted_stage(
    home: Path, runs: tuple[RunConfig, RunConfig], how: str
) -> None:
    path = max((home / "rollouts" / runs[0].run_id / "evaluate").glob("*.parquet"))
    assert whole_groups(path, 1) == {f"p{number}" for number in range(6)}
    if how == "too few":
        assert not whole_groups(path, 2)
        return
    DAMAGES[how](path)
    assert not whole_groups(path, 1)
    path.unlink()
    path.mkdir()
    assert not whole_groups(path, 1)


def test_a_home_moved_to_a_read_only_place_is_read(home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its view holds the former path, and a run that was killed there cannot be marked as failed."""
    one, two = write_runs(home)
    Store(home).write("runs", [{"run_id": one.run_id, "name": one.name, "status": "running"}])
    moved = tmp_path / "moved"
    shutil.move(home, moved)
    damaged(moved, two)
    bind = ["mount", "--bind", str(moved), str(moved)]
    if subprocess.run(bind, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here: needs root")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(moved)], check=True)
        store = Store(moved)
        with caplog.at_level(logging.WARNING):
            assert store.query("select count(*) from rollouts").rows == [(36,)]
        assert str(moved) in caplog.text
        assert {"rollouts", "runs"} <= set(store.schema())
        assert len(store.schema()["rollouts"].columns) == len(set(store.schema()["rollouts"].columns))
        assert pq.read_table(store.export(tmp_path / "out", ["rollouts"])[0]).num_rows == 36
        assert view_rollout(store, f"{one.run_id}/evaluate/builtin:tiny-0/p1/0").shown
        from pipeline_lib.runs.crashed_runs import close_crashed_runs

        assert close_crashed_runs(moved) == []
        assert f"run {one.run_id} is called running; whether anything works on it cannot be noted" in caplog.text
    finally:
        subprocess.run(["umount", "--lazy", str(moved)], check=True)
