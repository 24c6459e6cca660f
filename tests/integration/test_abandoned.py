"""Runs that were killed: marked as failed in the store and in MLflow, while those that are worked on stay as they are."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from pipeline_lib.config import load_config
from pipeline_lib.runs.crashed_runs import REASON, close_crashed_runs
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages.opened import finish
from pipeline_lib.tracking import expect_delivery, runs_behind

DIE = """
import os, signal, sys
from pipeline_lib.config import load_config
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession
run = RunSession(Run.of(load_config(sys.argv[1])))
run.acquire()
run.open(None)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_is_closed_and_a_living_one_is_left_alone(home: Path, configs: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", DIE, str(configs / "smoke.toml")], env=dict(os.environ), check=False)
    assert killed.returncode == -9
    living = RunSession(Run.of(load_config(configs / "smoke.toml", ["seed=1"])))
    living.acquire()
    living.open(None)
    closed = close_crashed_runs(home)
    assert [row["run_id"] for row in closed] == [load_config(configs / "smoke.toml").run_id]
    rows = {row[0]: row[1:] for row in living.store.query("select run_id, status, error from runs").rows}
    assert rows[closed[0]["run_id"]] == ("failed", REASON)
    assert rows[living.run.run_id] == ("running", None)
    with sqlite3.connect(home / "mlflow.db") as database:
        statuses = dict(database.execute("select run_uuid, status from runs").fetchall())
    assert statuses[closed[0]["mlflow_run_id"]] == "FAILED"
    assert close_crashed_runs(home) == []
    finish(living, "completed")
    living.release()


def test_a_command_that_reads_does_not_wait_for_mlflow(home: Path, configs: Path) -> None:
    """What MLflow lacks is sent by commands that work on runs; a query must not cost an import of it, or its time to answer."""
    session = RunSession(Run.of(load_config(configs / "smoke.toml")))
    session.store.write(
        "runs",
        [{"run_id": session.run.run_id, "name": "x", "status": "failed", "config": session.run.config.model_dump(mode="json")}],
    )
    expect_delivery(home, session.run.run_id)
    told = "import atexit, sys; atexit.register(lambda: print('mlflow' in sys.modules))"
    query = f"{told}; import flows.cli as cli; sys.argv[1:] = ['sql', 'select 1']; cli.main()"
    done = subprocess.run([sys.executable, "-c", query], env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.endswith("False\n"), done
    assert runs_behind(home) == [session.run.run_id]
    close_crashed_runs(home)
    assert runs_behind(home) == []


def test_what_a_killed_command_was_writing_is_removed_by_the_next(home: Path, configs: Path) -> None:
    session = RunSession(Run.of(load_config(configs / "smoke.toml")))
    write = "import os, sys; from pathlib import Path; from pipeline_lib.files.whole_files import replacing\n"
    write += "with replacing(Path(sys.argv[1])) as file: file.touch(); os.kill(os.getpid(), 9)"
    shard = session.run.rollouts_folder("evaluate") / "tiny-00000.parquet"
    shard.parent.mkdir(parents=True)
    subprocess.run([sys.executable, "-c", write, str(shard)], check=False)
    for name in (".step-00002.partial", ".step-00001.removed"):
        (session.run.checkpoints_folder() / name / "state").mkdir(parents=True)
    kept = session.run.checkpoints_folder() / "step-00001.damaged"
    kept.mkdir()
    assert len(list(shard.parent.iterdir())) == 1
    session.acquire()
    session.release()
    assert list(shard.parent.iterdir()) == [] and list(session.run.checkpoints_folder().iterdir()) == [kept]


def test_a_home_without_a_store_stays_one(home: Path) -> None:
    assert close_crashed_runs(home) == []
    assert not (home / "laconic.duckdb").exists()
