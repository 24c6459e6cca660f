"""Runs whose process ended without a word (kill -9, power): the store and MLflow must not call them running."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline_lib.config import TrackingConfig, stored_config
from pipeline_lib.store.database import Store
from pipeline_lib.tracking import Tracker
from pipeline_lib.worker.process import lock_run

REASON = "its process ended without a word; the same command goes on from what is stored"


def close_abandoned_runs(home: Path) -> list[dict[str, Any]]:
    """Mark as failed every run that is called running while no process holds it; returns their rows as they were."""
    store = Store(home)
    if not store.path.exists():
        return []
    closed = []
    for row in store.named("running_runs"):
        try:
            lock = lock_run(home, row["run_id"])
        except ValueError:  # somebody is working on it
            continue
        with lock:
            if store.named("run", run_id=row["run_id"])[0]["status"] != "running":  # it ended between the two looks
                continue
            ended = {"status": "failed", "finished_at": datetime.now(UTC), "error": REASON}
            store.write("runs", [{"run_id": row["run_id"], "name": row["name"], **ended}])
        closed.append(row)
        if row["mlflow_run_id"]:
            Tracker(_tracking(row["config"]), home).finish(row["mlflow_run_id"], "FAILED")
    return closed


def _tracking(config: str) -> TrackingConfig:
    """Where the run was tracked; the default where an older version of the configuration said it otherwise."""
    try:
        return stored_config(json.loads(config)["tracking"], TrackingConfig)
    except (ValueError, KeyError):
        return TrackingConfig()
