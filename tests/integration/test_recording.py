"""A process that is killed at any write to the store or to MLflow: the same command again leaves every MLflow run ended and whole."""

import os
import shutil
import signal
import sqlite3
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.config import TrackingConfig, load_config
from pipeline_lib.records import TrainingStep
from pipeline_lib.runs.crashed_runs import close_crashed_runs
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages.opened import finish
from pipeline_lib.store.database import Store
from pipeline_lib.tracking import Tracker

FIGURES = [name for name in TrainingStep.__slots__ if name not in ("run_id", "step")]
STEPS = [{"step": step, **dict.fromkeys(FIGURES, step)} for step in range(1, 4)]
SUMMARY = {"mean_pass_rate": 0.25, "num_prompts": 8}


@pytest.fixture(scope="module")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose databases are made already: making MLflow's takes seconds."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  (once, not in every forked process)

    folder = tmp_path_factory.mktemp("empty")
    Store(folder).query("select 1")
    assert in_a_process(lambda: Tracker(TrackingConfig(), folder).start_parent("first", "first")) == 0
    return folder


def smoke() -> Path:
    return Path(__file__).resolve().parents[2] / "configs" / "smoke.toml"


def command(configure: list[str]) -> None:
    """What `laconic run` records, in the order of the tasks, and what it leaves out of what is done."""
    session = RunSession(Run.of(load_config(smoke(), configure)))
    close_crashed_runs(session.run.home)
    session.acquire()
    session.open(None)
    fingerprint = "0" * 16
    if not session.ledger.stage_result("profile", "", fingerprint):
        session.ledger.record_stage("profile", "", fingerprint, 1.0, SUMMARY)
        child = session.tracker.start_child(session.mlflow_run_id, "profile")
        session.tracker.log_summary(child, SUMMARY)
        session.tracker.finish(child)
    if not session.ledger.stage_result("train", "", fingerprint):
        child = session.tracker.start_child(session.mlflow_run_id, "train")
        session.tracker.log_steps(child, STEPS)
        session.store.replace(
            "training_steps", {"run_id": session.run.run_id}, [{"run_id": session.run.run_id, **step} for step in STEPS]
        )
        session.ledger.record_stage("train", "", fingerprint, 1.0, SUMMARY)
        session.tracker.log_summary(child, SUMMARY)
        session.tracker.finish(child)
    finish(session, "completed")
    session.release()


def in_a_process(work: Callable[[], Any]) -> int:
    """Exit status of a forked process that does some work; minus the signal that killed it."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def dying_before(write: int, work: Callable[[], Any]) -> Callable[[], Any]:
    """The work, killed by the system before its n-th write."""
    from mlflow import MlflowClient

    done = Counter[str]()

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **values: Any) -> Any:
            done["writes"] += 1
            if done["writes"] == write:
                os.kill(os.getpid(), signal.SIGKILL)
            return method(*args, **values)

        return call

    def work_until_killed() -> None:
        for name in ("create_run", "update_run", "log_batch", "set_terminated"):
            setattr(MlflowClient, name, counted(getattr(MlflowClient, name)))
        for name in ("write", "replace"):
            setattr(Store, name, counted(getattr(Store, name)))
        work()

    return work_until_killed


def mlflow_runs(home: Path) -> tuple[dict[str, list[str]], dict[tuple[str, str], int]]:
    """Statuses of the runs by stage, and how often each metric of a stage is there at most in one step."""
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        of_run = "tags.key = 'laconic.run_id' and tags.value like 'smoke-%'"
        stages = dict(
            database.execute(
                "select tags.run_uuid, stage.value from tags join tags stage on stage.run_uuid = tags.run_uuid "
                f"where stage.key = 'laconic.stage' and {of_run}"
            ).fetchall()
        )
        statuses: dict[str, list[str]] = {}
        for run, status in database.execute("select run_uuid, status from runs").fetchall():
            if run in stages:
                statuses.setdefault(stages[run], []).append(status)
        counts = database.execute("select run_uuid, key, step, count(*) from metrics group by run_uuid, key, step").fetchall()
    return statuses, {(stages[run], f"{key}@{step}"): count for run, key, step, count in counts if run in stages}


EXPECTED = {("profile", f"{key}@0"): 1 for key in SUMMARY} | {("train", f"{key}@0"): 1 for key in SUMMARY}
EXPECTED |= {("train", f"{key}@{row['step']}"): 1 for row in STEPS for key in FIGURES}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("writes", [(8, 14, 17), pytest.param(range(1, 100), marks=pytest.mark.slow)])
def test_a_kill_before_any_write_leaves_no_mlflow_run_running_and_no_metric_missing_or_twice(
    empty_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: Sequence[int]
) -> None:
    for write in writes:
        home = tmp_path / str(write)
        shutil.copytree(empty_home, home)
        monkeypatch.setenv("LACONIC_HOME", str(home))
        status = in_a_process(dying_before(write, lambda: command([])))
        # Another run's command settles what the killed one left.
        assert in_a_process(lambda home=home: close_crashed_runs(home)) == 0
        assert "RUNNING" not in {each for statuses in mlflow_runs(home)[0].values() for each in statuses}, write
        if status == 0:
            assert write > 15
            break
        assert status == -signal.SIGKILL
        assert in_a_process(lambda: command([])) == 0
        statuses, metrics = mlflow_runs(home)
        assert statuses == {"run": ["FINISHED"], "profile": ["FINISHED"], "train": ["FINISHED"]}, write
        assert metrics == EXPECTED, write
