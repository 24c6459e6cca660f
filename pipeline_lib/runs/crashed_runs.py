"""Runs whose process ended without a word (kill -9, power): the store and MLflow must not call them running."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_lib.config import TrackingConfig, stored_config
from pipeline_lib.messages.faults import RESUMES, explain
from pipeline_lib.processes import lock_run
from pipeline_lib.runs.ledger import Ledger
from pipeline_lib.tracking import RunStatus, Tracker, note_delivery, runs_behind

# DuckDB is slow to import, and a deployment loads this.
if TYPE_CHECKING:
    from pipeline_lib.store.database import Store

logger = logging.getLogger(__name__)

REASON = f"its process ended without a word; {RESUMES}"
MLFLOW_STATUS: dict[str, RunStatus] = {"completed": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}


def close_crashed_runs(home: Path, retry_mlflow: bool = True) -> list[dict[str, Any]]:
    """Mark as failed every run that is called running while no process holds it; returns their rows as they were.

    MLflow is told of these, and with `retry_mlflow` of runs whose end it could not be told before, which takes seconds. Where the
    home cannot be written (a full disk, read-only media) a warning tells what is not so.
    """
    from pipeline_lib.store.database import Store

    store = Store(home)
    if not store.path.exists():
        return []
    closed = []
    for row in store.named("running_runs"):
        try:
            if not _close(store, row):
                continue
        except OSError as error:
            why = explain(error, home)
            logger.warning("run %s is called running; whether anything works on it cannot be noted: %s", row["run_id"], why)
            continue
        closed.append(row)
    _end_in_mlflow(store, [*(row["run_id"] for row in closed), *(runs_behind(home) if retry_mlflow else ())])
    return closed


def _close(store: "Store", row: dict[str, Any]) -> bool:
    """Mark a run as failed unless somebody works on it, or it ended between two looks."""
    try:
        lock = lock_run(store.home, row["run_id"])
    except ValueError:
        return False
    with lock:
        ledger = Ledger(store, row["run_id"], row["name"])
        if (now := ledger.row) is None or now["status"] != "running":
            return False
        ledger.end("failed", REASON)
    return True


def _end_in_mlflow(store: "Store", run_ids: list[str]) -> None:
    """End what MLflow calls running of runs that nobody works on, unless it is out of reach: then the next command does it."""
    out_of_reach: set[str] = set()
    for run_id in dict.fromkeys(run_ids):
        try:
            lock = lock_run(store.home, run_id)
        except (ValueError, OSError):  # somebody works on it, or the home cannot be written
            continue
        with lock:
            rows = store.named("run", run_id=run_id)
            tracker = Tracker(_tracking(rows[0]["config"]), store.home) if rows else None
            if tracker is None or rows[0]["status"] == "running" or tracker.uri in out_of_reach:
                continue
            tracker.end_runs(run_id, MLFLOW_STATUS[rows[0]["status"]])
            if tracker.pending:
                out_of_reach.add(tracker.uri)
            elif rows[0]["status"] != "completed":  # of a completed one it may lack figures, which its command sends
                note_delivery(store.home, run_id, tracker)


def _tracking(config: Any) -> TrackingConfig:
    """Where the run was tracked; the default where an older version of the configuration said it otherwise."""
    try:
        return stored_config(config["tracking"], TrackingConfig)
    except (ValueError, KeyError, TypeError):
        return TrackingConfig()
