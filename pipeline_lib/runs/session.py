"""The session that works on a run: its lock, worker, store, ledger and tracker, opened when first needed."""

from collections.abc import Callable
from functools import cached_property
from typing import IO, TYPE_CHECKING

from pipeline_lib.config import RunConfig
from pipeline_lib.files.home import below
from pipeline_lib.files.whole_files import remove_unfinished
from pipeline_lib.processes import give_room, lock_run, reserve_room
from pipeline_lib.records import FleetEvent
from pipeline_lib.runs.ledger import Ledger, git_commit
from pipeline_lib.runs.run import Run, runs_of

if TYPE_CHECKING:
    from pipeline_lib.fleet.fleets import Fleet
    from pipeline_lib.store.database import Store
    from pipeline_lib.tracking import Tracker


class RunSession:
    """What the stages of one run share. `force`: do them again even where results for the same inputs are stored.

    `lent_worker` is one that other runs use after this one; it is ended only where this run leaves it in an unknown state.
    """

    def __init__(self, run: Run, force: bool = False, lent_worker: "Fleet | None" = None) -> None:
        self.run = run
        self.force = force
        self._worker = lent_worker
        self._worker_is_lent = lent_worker is not None
        self._lock: IO[str] | None = None
        self._children: dict[str, str | None] = {}
        self.show_fleet: Callable[[Run, list[FleetEvent]], None] = lambda run, events: None

    def acquire(self) -> None:
        """Hold the run for this process. Raises ValueError when another process is working on it."""
        if self._lock is None:
            self._lock = lock_run(self.run.home, self.run.run_id)
            for folder in ("rollouts", "training", "checkpoints", "reports"):
                remove_unfinished(below(self.run.home, folder, self.run.run_id))
            reserve_room(self._lock)

    def release(self) -> None:
        if self._lock:
            self.give_room()
            self._lock.close()
            self._lock = None

    def give_room(self) -> None:
        """Free the room that is kept for noting how the run ended."""
        if self._lock:
            give_room(self._lock)

    @cached_property
    def store(self) -> "Store":
        from pipeline_lib.store.database import Store

        return Store(self.run.home)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.store, self.run.run_id, self.run.config.name)

    @cached_property
    def tracker(self) -> "Tracker":
        from pipeline_lib.tracking import Tracker

        return Tracker(self.run.config.tracking, self.run.home)

    @property
    def mlflow_run_id(self) -> str | None:
        """Id of the run's MLflow parent run, if the tracker has given one."""
        row = self.ledger.row
        return row["mlflow_run_id"] if row else None

    @property
    def worker(self) -> "Fleet":
        """The run's worker, started on first use and shared by the stages: its engine costs tens of seconds to start."""
        if self._worker is None:
            from pipeline_lib.fleet.fleets import make_fleet

            run = self.run
            devices = run.config.control.devices if run.control_of else ()
            self._worker = make_fleet(
                run.config, run.base.location, run.home, devices, self._note_fleet, self.ledger.note_usage
            )
            self._worker.start()
        return self._worker

    def _note_fleet(self, events: list[FleetEvent]) -> None:
        self.ledger.note_fleet(events)
        self.show_fleet(self.run, events)

    def child(self, stage: str, wait: bool = True) -> str | None:
        """Id of the MLflow child run of a stage, which is opened at the first call; None while MLflow is out of reach.

        None, too, where the first call does not `wait` for MLflow: the run that was opened last is meant.
        """
        if stage not in self._children:
            self._children[stage] = self.tracker.start_child(self.mlflow_run_id, stage, wait)
        return self._children[stage]

    def finish_child(self, stage: str) -> None:
        """The stage is done and MLflow has been told of it."""
        self.tracker.finish(self._children.pop(stage))

    def close_worker(self, at_once: bool = False) -> None:
        """End the worker, if there is one of this run's own; `at_once` any worker, without waiting for what it is doing."""
        if self._worker is None or (self._worker_is_lent and not at_once):
            return
        if at_once:
            self._worker.kill()
        else:
            self._worker.close()
        self._worker = None

    def open(self, prefect_flow_run_id: str | None) -> None:
        """Note in the store and in MLflow that the run is being worked on."""
        from pipeline_lib.tracking import expect_delivery

        run, settings = self.run, self.run.config.model_dump(mode="json")
        facts = {"base_model": run.base.label, "control_of": run.control_of, "config": settings, "git_commit": git_commit()}
        self.ledger.open({**facts, "prefect_flow_run_id": prefect_flow_run_id})
        if self.tracker.enabled:
            expect_delivery(run.home, run.run_id)
        tags = {"laconic.name": run.config.name, "prefect.flow_run_id": prefect_flow_run_id or ""}
        mlflow_run_id = self.tracker.start_parent(run.config.name, run.run_id, tags, settings)
        if mlflow_run_id:
            self.ledger.note_mlflow_run(mlflow_run_id)


def sessions_of(config: RunConfig, force: bool = False) -> list[RunSession]:
    """The run of a configuration, followed by its control when there is one (`runs_of`)."""
    return [RunSession(run, force) for run in runs_of(config)]
