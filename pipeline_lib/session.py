"""One run being worked on: its configuration, base model, folders, store, tracker and worker, opened when first needed."""

import os
import shutil
import subprocess
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pipeline_lib import fingerprints
from pipeline_lib.base_model import BaseModel, resolve_base_model
from pipeline_lib.config import RunConfig, laconic_home
from pipeline_lib.records import StageResult

if TYPE_CHECKING:
    from pipeline_lib.store.database import Store
    from pipeline_lib.tracking import Tracker
    from pipeline_lib.worker.process import WorkerProcess


class RunSession:
    """What the stages of one run share. `control_of` is the run that this one is the control of."""

    def __init__(self, config: RunConfig, control_of: str | None = None, force: bool = False) -> None:
        self.config = config
        self.run_id = config.run_id
        self.control_of = control_of
        self.force = force
        self.home = laconic_home()
        self._worker: WorkerProcess | None = None
        self._worker_is_lent = False
        self._lock: IO[str] | None = None

    def acquire(self) -> None:
        """Hold the run for this process. Raises ValueError when another process is working on it."""
        if self._lock is None:
            from pipeline_lib.worker.process import lock_run, reserve_room

            self._lock = lock_run(self.home, self.run_id)
            reserve_room(self._lock)

    def release(self) -> None:
        """Let other processes work on the run."""
        if self._lock:
            self._give_room()
            self._lock.close()
            self._lock = None

    def _give_room(self) -> None:
        if self._lock:
            from pipeline_lib.worker.process import give_room

            give_room(self._lock)

    @cached_property
    def base(self) -> BaseModel:
        """The base model."""
        return resolve_base_model(self.config)

    @cached_property
    def store(self) -> "Store":
        """The DuckDB store of the home."""
        from pipeline_lib.store.database import Store

        return Store(self.home)

    @cached_property
    def tracker(self) -> "Tracker":
        """The line to MLflow."""
        from pipeline_lib.tracking import Tracker

        return Tracker(self.config.tracking, self.home)

    @property
    def worker(self) -> "WorkerProcess":
        """The run's worker, started on first use and shared by the stages: its engine costs tens of seconds to start."""
        if self._worker is None:
            from pipeline_lib.worker.process import WorkerProcess

            self._worker = WorkerProcess(self.config, self.base.location, self.home, will_train=True)
            self._worker.start()
        return self._worker

    def lend_worker(self, worker: "WorkerProcess") -> None:
        """Use a worker that other runs use after this one; it is ended only where this run leaves it in an unknown state."""
        self._worker, self._worker_is_lent = worker, True

    def close_worker(self, at_once: bool = False) -> None:
        """End the worker, if there is one of this run's own; `at_once` any worker, without waiting for what it is doing."""
        if self._worker:
            if at_once:
                self._worker.kill()
            elif not self._worker_is_lent:
                self._worker.close()
            self._worker = None

    def rollouts_folder(self, stage: str) -> Path:
        """Where a stage's rollouts lie as Parquet."""
        return self.home / "rollouts" / self.run_id / stage

    def training_folder(self) -> Path:
        """Prompts and step metrics that go between the train task and the worker."""
        return self.home / "training" / self.run_id

    def checkpoints_folder(self) -> Path:
        """Where training state is saved."""
        return self.home / "checkpoints" / self.run_id

    def report_folder(self) -> Path:
        """Where the report and its pictures lie."""
        return self.home / "reports" / self.run_id

    def fingerprint(self, stage: str) -> str:
        """Digest of what a stage of this run depends on."""
        if stage == "profile":
            return fingerprints.profile_fingerprint(self.config, self.base.digest)
        selected = fingerprints.filter_fingerprint(self.config, self.base.digest)
        if stage == "filter":
            return selected
        assert stage == "train", f"the stage {stage} has no fingerprint of a run"
        filtered = self.stored_result("filter", "", selected)
        selection_digest = filtered["summary"].get("selection_digest", "") if filtered else "not selected yet"
        return fingerprints.train_fingerprint(self.config, self.base.digest, selection_digest)

    def stored_result(self, stage: str, unit: str, fingerprint: str) -> dict[str, Any] | None:
        """The result for these inputs, of this run or else of any other; None when there is none."""
        found = self.store.named(
            "stage_result_by_fingerprint", run_id=self.run_id, stage=stage, unit=unit, fingerprint=fingerprint
        )
        return found[0] if found else None

    @property
    def is_trained(self) -> bool:
        """Whether training for these very inputs is done and its checkpoints are there."""
        return self.stored_training() is not None

    def stored_training(self) -> dict[str, Any] | None:
        """The finished training with these inputs, of this run or of another, as long as its checkpoints are there."""
        stored = None if self.force else self.stored_result("train", "", self.fingerprint("train"))
        if stored is None:
            return None
        checkpoints = self.store.named("checkpoints_of_run", run_id=stored["run_id"])
        return stored if checkpoints and all(Path(row["path"]).exists() for row in checkpoints) else None

    def forget_stage(self, stage: str) -> None:
        """A stage that is about to be done again is not done: an interruption must not leave the old record over new files."""
        self.store.replace("stage_results", {"run_id": self.run_id, "stage": stage}, [])

    def record_stage(
        self, stage: str, unit: str, fingerprint: str, seconds: float, summary: dict[str, Any], reused_from: str | None = None
    ) -> None:
        """Note that a stage is done for these inputs."""
        self.store.write("stage_results", [StageResult(self.run_id, stage, unit, fingerprint, seconds, reused_from, summary)])

    def track(self, stage: str, summary: dict[str, Any], steps: list[dict[str, Any]] | None = None) -> None:
        """Send a finished stage's figures (and step metrics) to its MLflow child run."""
        child = self.tracker.start_child(self.mlflow_run_id, stage)
        if steps:
            self.tracker.log_steps(child, steps)
        self.tracker.log_summary(child, summary)
        self.tracker.finish(child)

    def open(self, prefect_flow_run_id: str | None) -> None:
        """Note in the store and in MLflow that the run is being worked on."""
        row: dict[str, Any] = {
            "run_id": self.run_id,
            "name": self.config.name,
            "status": "running",
            "base_model": self.base.label,
            "control_of": self.control_of,
            "config": self.config.model_dump(mode="json"),
            "git_commit": git_commit(),
            "finished_at": None,
            "error": None,
            "prefect_flow_run_id": prefect_flow_run_id,
        }
        if not self.store.named("run", run_id=self.run_id):
            row["started_at"] = datetime.now(UTC)
        self.store.write("runs", [row])
        tags = {"laconic.name": self.config.name, "prefect.flow_run_id": prefect_flow_run_id or ""}
        mlflow_run_id = self.tracker.start_parent(self.config.name, self.run_id, tags, self.config.model_dump(mode="json"))
        if mlflow_run_id:
            self.store.write("runs", [{"run_id": self.run_id, "name": self.config.name, "mlflow_run_id": mlflow_run_id}])

    def finish(self, status: str, error: str | None = None) -> None:
        """Note how work on the run ended: completed, failed or cancelled."""
        self._give_room()
        # First of all: whoever told this process to end may not wait for a slow tracker.
        ended = {
            "run_id": self.run_id,
            "name": self.config.name,
            "status": status,
            "finished_at": datetime.now(UTC),
            "error": error,
        }
        self.store.write("runs", [ended])
        if self.tracker.flush() and self.mlflow_run_id is None:
            # The tracker was out of reach when the run was opened.
            found = self.tracker.start_parent(self.config.name, self.run_id)
            self.store.write("runs", [{"run_id": self.run_id, "name": self.config.name, "mlflow_run_id": found}])
        mlflow_status = {"completed": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}[status]
        self.tracker.finish(self.mlflow_run_id, mlflow_status)  # type: ignore[arg-type]
        self.tracker.flush()

    @property
    def mlflow_run_id(self) -> str | None:
        """Id of the run's MLflow parent run, if the tracker has given one."""
        rows = self.store.named("run", run_id=self.run_id)
        return rows[0]["mlflow_run_id"] if rows else None


def git_commit() -> str | None:
    """Commit of the code's checkout, or what LACONIC_COMMIT says (images hold no checkout); None when neither is there."""
    if os.environ.get("LACONIC_COMMIT"):
        return os.environ["LACONIC_COMMIT"]
    if shutil.which("git") is None:
        return None
    folder = Path(__file__).resolve().parent
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None if done.returncode == 0 else None
