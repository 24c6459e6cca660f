"""Runs whose process ended without a word (kill -9, power): the store and MLflow must not call them running."""

import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline_lib.config import TrackingConfig
from pipeline_lib.faults import explain
from pipeline_lib.store.database import Store
from pipeline_lib.tracking import Tracker
from pipeline_lib.worker.process import lock_run

logger = logging.getLogger(__name__)

REASON = "its process ended without a word; the same command goes on from what is stored"


def close_abandoned_runs(home: Path) -> list[dict[str, Any]]:
    """Mark as failed every run that is called running while no process holds it; returns their rows as they were.

    Where the home cannot be written (a full disk, read-only media) a warning tells what is not so.
    """
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
            logger.warning("run %s is called running, but nothing works on it; that cannot be noted: %s", row["run_id"], why)
            continue
        closed.append(row)
        if row["mlflow_run_id"]:
            Tracker(_tracking(row["config"]), home).finish(row["mlflow_run_id"], "FAILED")
    return closed


def _close(store: Store, row: dict[str, Any]) -> bool:
    """Mark a run as failed unless somebody works on it, or it ended between two looks."""
    try:
        lock = lock_run(store.home, row["run_id"])
    except ValueError:
        return False
    with lock:
        if store.named("run", run_id=row["run_id"])[0]["status"] != "running":
            return False
        ended = {"status": "failed", "finished_at": datetime.now(UTC), "error": REASON}
        store.write("runs", [{"run_id": row["run_id"], "name": row["name"], **ended}])
    return True


def _tracking(config: str) -> TrackingConfig:
    """Where the run was tracked; the default where an older version of the configuration said it otherwise."""
    try:
        return TrackingConfig.model_validate(json.loads(config)["tracking"])
    except (ValueError, KeyError):
        return TrackingConfig()
