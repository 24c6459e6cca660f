"""One run being worked on: its configuration, base model, folders, store, tracker and worker, opened when first needed."""

import os
import shutil
import subprocess
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pipeline_lib.config import RunConfig, laconic_home
from pipeline_lib.files.home import below
from pipeline_lib.files.whole_files import remove_unfinished
from pipeline_lib.messages.addresses import without_password
from pipeline_lib.processes import give_room, lock_run, reserve_room
from pipeline_lib.records import StageResult
from pipeline_lib.runs import fingerprints
from pipeline_lib.runs.base_model import BaseModel, resolve_base_model

if TYPE_CHECKING:
    from pipeline_lib.store.database import Store
    from pipeline_lib.tracking import Tracker
    from pipeline_lib.worker.process import WorkerProcess


# Told to end, a process has few seconds in all; what MLflow does not take in these is settled by the next command.
CANCELLED_TRACKING_SECONDS = 1.5


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
            self._lock = lock_run(self.home, self.run_id)
            for folder in ("rollouts", "training", "checkpoints", "reports"):
                remove_unfinished(below(self.home, folder, self.run_id))
            reserve_room(self._lock)

    def release(self) -> None:
        """Let other processes work on the run."""
        if self._lock:
            self._give_room()
            self._lock.close()
            self._lock = None

    def _give_room(self) -> None:
        if self._lock:
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
        return below(self.home, "rollouts", self.run_id, stage)

    def training_folder(self) -> Path:
        """Prompts and step metrics that go between the train task and the worker."""
        return below(self.home, "training", self.run_id)

    def checkpoints_folder(self) -> Path:
        """Where training state is saved."""
        return below(self.home, "checkpoints", self.run_id)

    def report_folder(self) -> Path:
        """Where the report and its pictures lie."""
        return below(self.home, "reports", self.run_id)

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

    def track(self, stage: str) -> None:
        """Send what is stored of a finished stage to its MLflow child run."""
        child = self.tracker.start_child(self.mlflow_run_id, stage)
        if stage == "train":
            self.tracker.log_steps(child, self.store.named("training_curve", run_id=self.run_id))
        if stage == "evaluate":
            rows = self.store.named("budget_table", run_ids=[self.run_id])
            figures = {f"{r['benchmark']}.step{r['step']}.mean_at_k.{r['budget_tokens']}": r["mean_at_k"] for r in rows}
            self.tracker.log_summary(child, figures)
        elif stage == "report":
            self.tracker.log_artifacts(
                child, [self.report_folder() / "report.html", *sorted(self.report_folder().glob("*.png"))], "report"
            )
        elif stage != "register":
            [row] = self.store.named("stage_results_of_run", run_id=self.run_id, stage=stage)
            self.tracker.log_summary(child, row["summary"])
        self.tracker.finish(child)

    def open(self, prefect_flow_run_id: str | None) -> None:
        """Note in the store and in MLflow that the run is being worked on."""
        from pipeline_lib.tracking import expect_delivery

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
        if self.tracker.enabled:
            expect_delivery(self.home, self.run_id)
        tags = {"laconic.name": self.config.name, "prefect.flow_run_id": prefect_flow_run_id or ""}
        mlflow_run_id = self.tracker.start_parent(self.config.name, self.run_id, tags, self.config.model_dump(mode="json"))
        if mlflow_run_id:
            self.store.write("runs", [{"run_id": self.run_id, "name": self.config.name, "mlflow_run_id": mlflow_run_id}])

    def finish(self, status: str, error: str | None = None) -> None:
        """Note how work on the run ended: completed, failed or cancelled."""
        self._give_room()
        ended = {"run_id": self.run_id, "name": self.config.name, "status": status, "error": error and without_password(error)}
        if status == "completed":
            # Before the row: a run that is killed here is gone on with, which a completed one need not be.
            if self.tracker.flush():
                self._catch_up()
            self.tracker.end_runs(self.run_id, "FINISHED")
            if self.tracker.available:
                self.tracker.flush()
            self.store.write("runs", [{**ended, "finished_at": datetime.now(UTC)}])
        else:
            # After the row: whoever told this process to end may not wait for a slow tracker.
            self.store.write("runs", [{**ended, "finished_at": datetime.now(UTC)}])
            if status == "cancelled":
                self.tracker.end_within(CANCELLED_TRACKING_SECONDS)
            self.tracker.end_runs(self.run_id, "FAILED" if status == "failed" else "KILLED")
            self.tracker.flush()
        self._note_delivery()

    def _catch_up(self) -> None:
        """Send MLflow the stages that are done and that it has not got: of a command that was killed, or found it out of reach."""
        from pipeline_lib.tracking import PARENT_STAGE

        runs = self.tracker.stage_runs(self.run_id)
        if runs is None:
            return
        if self.mlflow_run_id is None and PARENT_STAGE in runs:  # it was out of reach when the run was opened
            known = {"run_id": self.run_id, "name": self.config.name, "mlflow_run_id": runs[PARENT_STAGE][0]}
            self.store.write("runs", [known])
        for row in self.store.named("stage_durations", run_id=self.run_id):
            # Of what was taken over from another run, that run's MLflow run tells; the sweep of every run has one of its own.
            is_own = row["stage"] == "evaluate" or not row["reused_from"]
            if is_own and runs.get(row["stage"], ("", ""))[1] != "FINISHED":
                self.track(row["stage"])

    def _note_delivery(self) -> None:
        from pipeline_lib.tracking import note_delivery

        note_delivery(self.home, self.run_id, self.tracker)

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
