"""What the store says of a run: the one place that writes its status, and which of its stages are done.

A run is `running` while a process holds its lock (`runs.session`), then `completed`, `failed` or `cancelled`. Whatever a process
dies of, its lock goes with it: `runs.crashed_runs` ends here what is called running and held by nobody.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline_lib.messages.addresses import without_password
from pipeline_lib.records import EndpointUsage, FleetEvent, RunEvent, StageResult

if TYPE_CHECKING:
    from pipeline_lib.store.database import Store

Ended = Literal["completed", "failed", "cancelled"]


class Ledger:
    """The rows of one run in `runs`, `stage_results` and `run_events`, and those of its fleet."""

    def __init__(self, store: "Store", run_id: str, name: str) -> None:
        self.store, self.run_id, self.name = store, run_id, name

    @property
    def row(self) -> dict[str, Any] | None:
        """The run's row of `runs`; None when it was never opened."""
        rows = self.store.named("run", run_id=self.run_id)
        return rows[0] if rows else None

    def open(self, facts: Mapping[str, Any], restarts_clock: bool = False) -> None:
        """The run is being worked on; `facts` are further columns. Its first start stays unless `restarts_clock`."""
        if restarts_clock or self.row is None:
            facts = {**facts, "started_at": datetime.now(UTC)}
        self._write(status="running", finished_at=None, error=None, **facts)

    def note_mlflow_run(self, mlflow_run_id: str) -> None:
        """Which MLflow run is the parent of the run's."""
        self._write(mlflow_run_id=mlflow_run_id)

    def end(self, status: Ended, error: str | None = None) -> None:
        """How work on the run ended, with one line on what was wrong."""
        self._write(status=status, finished_at=datetime.now(UTC), error=error and without_password(error))

    def _write(self, **columns: Any) -> None:
        self.store.write("runs", [{"run_id": self.run_id, "name": self.name, **columns}])

    def stage_result(self, stage: str, unit: str, fingerprint: str) -> dict[str, Any] | None:
        """The result for these inputs, of this run or else of any other; None when there is none."""
        inputs = {"stage": stage, "unit": unit, "fingerprint": fingerprint}
        found = self.store.named("stage_result_by_fingerprint", run_id=self.run_id, **inputs)
        return found[0] if found else None

    def forget_stage(self, stage: str, unit: str | None = None) -> None:
        """What is about to be done again is not done, of one unit or of all: no old record must be left over new files."""
        chosen = {} if unit is None else {"unit": unit}
        self.store.replace("stage_results", {"run_id": self.run_id, "stage": stage, **chosen}, [])

    def record_stage(
        self, stage: str, unit: str, fingerprint: str, seconds: float, summary: dict[str, Any], reused_from: str | None = None
    ) -> None:
        """A stage is done for these inputs, by this run or, `reused_from`, by another."""
        self.store.write("stage_results", [StageResult(self.run_id, stage, unit, fingerprint, seconds, reused_from, summary)])

    def note_event(self, kind: Literal["worker_restarted", "worker_given_up"], stage: str, done: int, reason: str) -> None:
        """What has just befallen a stage that is worked on, with one line on why."""
        event = RunEvent(self.run_id, datetime.now(UTC), kind, stage, done, without_password(reason))
        self.store.write("run_events", [event])

    def note_fleet(self, events: Sequence[FleetEvent]) -> None:
        """What the actors of the run's fleet did, or what befell them."""
        self.store.write("fleet_events", [replace(event, reason=without_password(event.reason)) for event in events])

    def note_usage(self, usage: EndpointUsage) -> None:
        """What a stage has asked of an endpoint so far; the same sitting again replaces it."""
        self.store.write("endpoint_usage", [usage])


def git_commit() -> str | None:
    """Commit of the code's checkout, or what LACONIC_COMMIT says (images hold no checkout); None when neither is there."""
    if os.environ.get("LACONIC_COMMIT"):
        return os.environ["LACONIC_COMMIT"]
    if shutil.which("git") is None:
        return None
    folder = Path(__file__).resolve().parent
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None if done.returncode == 0 else None
