"""The line of one run to MLflow that outlives an outage: calls wait in a queue, in order, and catch up."""

import logging
import os
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pipeline_lib.config import TrackingConfig
from pipeline_lib.messages.addresses import without_password
from pipeline_lib.tracking.connection import PREFECT_TAG, RUN_ID_TAG, STAGE_TAG, Connection, RegisteredVersion
from pipeline_lib.tracking.conversion import as_tags, first_line, flatten_params, numeric_metrics
from pipeline_lib.tracking.limits import Limits
from pipeline_lib.tracking.registry import tracking_address

logger = logging.getLogger(__name__)

PARENT_STAGE = "run"
PAGES_VARIABLE = "LACONIC_MLFLOW_PAGES"

# After a failed call, wait this many times as long as the failure took: a dead server costs at most a quarter of the time.
COOLDOWN_FACTOR = 3.0
# Errors that sending the same call again cannot cure.
REJECTIONS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "BAD_REQUEST")
# How SQLAlchemy begins the message about an error of the database; MLflow passes it on, some as BAD_REQUEST.
DATABASE_ERROR = re.compile(r"\((\w+\.)+(Operational|Database|Internal|Interface)Error\)")
# How MLflow's client begins the message about an answer that no MLflow server gave, such as a proxy's page.
NO_ANSWER = "API request to"

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]


class _Call:
    """A call that waits to be sent, and what it returned."""

    def __init__(self, label: str, call: Callable[[], Any]) -> None:
        self.label, self.call = label, call
        self.result: Any = None


class _OpenRun:
    """A run that was asked for; its MLflow id is known once the tracker has answered."""

    def __init__(self, find_or_create: Callable[[], str], is_parent: bool) -> None:
        self._find_or_create = find_or_create
        self.is_parent = is_parent
        self.mlflow_run_id: str | None = None

    def resolve(self) -> str:
        if self.mlflow_run_id is None:
            self.mlflow_run_id = self._find_or_create()
        return self.mlflow_run_id


class Tracker:
    """One run's line to MLflow; every call returns None instead of raising when the tracker cannot be reached.

    Calls that write are queued in order and sent again by the next call or by `flush`. Where a method takes an MLflow run id,
    None stands for the innermost run opened here and not yet finished: the id that a failed `start_parent` or `start_child`
    could not give. Calls may be repeated after a crash: runs are found by their tags, a metric is sent once a step.
    """

    def __init__(self, config: TrackingConfig, home: Path) -> None:
        self.enabled = config.enabled
        self.available = config.enabled
        address = tracking_address(config, home)
        self.uri = without_password(address, is_address=True)
        self._limits = Limits(config.timeout_seconds)
        self._connection = Connection(address, config.experiment, home.resolve() / "mlartifacts", self._limits)
        self._sending = threading.RLock()  # a terminated run is closed by another thread than that of its stage
        self._queue: deque[_Call] = deque()
        self._thread: threading.Thread | None = None
        self._open_runs: list[_OpenRun] = []
        self._retry_at = 0.0
        self._last_error = ""
        self._not_registered: set[str] = set()

    @property
    def pending(self) -> int:
        return len(self._queue)

    def start_parent(
        self, run_name: str, run_id: str, tags: Mapping[str, Any] | None = None, params: Mapping[str, Any] | None = None
    ) -> str | None:
        """Open the parent run of `run_id`, or reopen it; `params` may nest (keys are joined by dots). Returns its MLflow id."""
        all_tags = as_tags({**(tags or {}), RUN_ID_TAG: run_id, STAGE_TAG: PARENT_STAGE})
        flat_params = flatten_params(params or {})
        found_by = {RUN_ID_TAG: run_id, STAGE_TAG: PARENT_STAGE}
        find_or_create = partial(self._connection.find_or_create_run, run_name, found_by, all_tags, flat_params)
        return self._start(_OpenRun(find_or_create, is_parent=True), f"run {run_name}")

    def start_child(self, parent_id: str | None, stage: str, wait: bool = True) -> str | None:
        """Open the child run of a stage, or reopen it; it inherits the parent's lineage tags. Returns its MLflow id.

        Not with `wait` off, as while MLflow cannot be reached: a thread sends it.
        """
        parent = self._target(parent_id, only_parents=True)

        def find_or_create() -> str:
            parent_run_id = parent()
            parent_tags = self._connection.client().get_run(parent_run_id).data.tags
            inherited = {key: parent_tags[key] for key in (RUN_ID_TAG, PREFECT_TAG) if key in parent_tags}
            found_by = {"mlflow.parentRunId": parent_run_id, STAGE_TAG: stage}
            return self._connection.find_or_create_run(stage, found_by, {**inherited, **found_by}, {})

        return self._start(_OpenRun(find_or_create, is_parent=False), f"stage {stage}", wait)

    def log_steps(self, child_id: str | None, rows: Iterable[Mapping[str, Any]], wait: bool = True) -> None:
        """Send the numeric columns of rows that have a `step`; missing, non-finite and already sent values are left out.

        With `wait` off a thread sends them, behind what it has not sent yet: a slow server costs the caller no time.
        """
        metrics = [(key, value, int(row["step"])) for row in rows for key, value in numeric_metrics(row) if key != "step"]
        target, now_ms = self._target(child_id), time.time_ns() // 1_000_000
        self._submit("step metrics", lambda: self._connection.send_steps(target(), metrics, now_ms), wait=wait)

    def log_summary(self, child_id: str | None, metrics: Mapping[str, Any]) -> None:
        """Send the figures that sum up a stage; sent again, the newest values stand."""
        target, now_ms = self._target(child_id), time.time_ns() // 1_000_000
        values = [(key, value, 0) for key, value in numeric_metrics(metrics)]
        self._submit("summary metrics", lambda: self._connection.send_summary(target(), values, now_ms))

    def log_artifacts(self, run_id: str | None, paths: Iterable[Path], artifact_path: str | None = None) -> None:
        """Send files and folders (a folder's contents) to a run's artifacts, under `artifact_path`."""
        target, sources = self._target(run_id), [Path(path) for path in paths]
        self._submit("artifacts", lambda: self._connection.send_artifacts(target(), sources, artifact_path))

    def register_model(
        self,
        model_folder: Path,
        registered_model: str,
        source_run_id: str | None,
        alias: str = "challenger",
        tags: Mapping[str, Any] | None = None,
        adapter: Path | None = None,
    ) -> RegisteredVersion | None:
        """Log a model folder, and an adapter's as `adapter/` in it, make it a new version in the registry and point the alias at it.

        The same files with the same `laconic.run_id` tag give the version that is already there. In an outage the call is
        not queued: the caller repeats it.
        """
        target, all_tags, label = self._target(source_run_id), as_tags(tags or {}), f"model {registered_model}"
        result: RegisteredVersion | None = self._submit(
            label,
            lambda: self._connection.register(model_folder, registered_model, target(), alias, all_tags, adapter),
            keep=False,
        )
        if result is None and not self.available and self.enabled:
            self._not_registered.add(label)
        else:
            self._not_registered.discard(label)
        return result

    def run_address(self, mlflow_run_id: str | None) -> str | None:
        """Where a browser shows a run; None without a server that has pages, or while it cannot be reached."""
        if mlflow_run_id is None or not self.uri.startswith("http"):
            return None
        experiment: str | None = self._submit("experiment", self._connection.experiment_id, keep=False)
        # Between containers the server has another name than for a browser.
        pages = without_password(os.environ.get(PAGES_VARIABLE) or self.uri)
        return f"{pages.rstrip('/')}/#/experiments/{experiment}/runs/{mlflow_run_id}" if experiment else None

    def finish(self, run_id: str | None, status: RunStatus = "FINISHED") -> None:
        target, now_ms = self._target(run_id), time.time_ns() // 1_000_000
        if run_id is None:
            self._open_runs = self._open_runs[:-1]
        else:
            self._open_runs = [opened for opened in self._open_runs if opened.mlflow_run_id != run_id]
        self._submit("end of run", lambda: self._connection.client().set_terminated(target(), status, now_ms))

    def stage_runs(self, run_id: str) -> dict[str, tuple[str, str]] | None:
        """MLflow id and status of the runs of `run_id`, by stage; None while the tracker cannot be reached."""
        result: dict[str, tuple[str, str]] | None = self._submit(
            "runs", lambda: self._connection.stage_runs(run_id), keep=False
        )
        return result

    def end_runs(self, run_id: str, status: RunStatus) -> None:
        """End the parent of `run_id` with a status, and with it every child that nobody will work on any more."""
        now_ms = time.time_ns() // 1_000_000
        self._open_runs.clear()
        self._submit("end of run", lambda: self._connection.end_runs(run_id, PARENT_STAGE, status, now_ms))

    def end_within(self, seconds: float) -> None:
        """Give up, in so many seconds, whatever is under way and what comes: the process is being terminated."""
        self._limits.end_within(seconds)

    def flush(self) -> bool:
        """Send what waits, now; True when nothing is left."""
        if self._queue:
            self._drain(force=True)
        return not self._queue

    def undelivered(self) -> str | None:
        """What MLflow never got, as a sentence without its end; None when it has everything that it did not refuse."""
        labels = Counter([each.label for each in self._queue] + sorted(self._not_registered))
        if not labels:
            return None
        calls = ", ".join(f"{label} ({count} times)" if count > 1 else label for label, count in labels.items())
        total = sum(labels.values())
        were = "call was" if total == 1 else "calls were"
        return f"{total} {were} never delivered to MLflow at {self.uri} ({self._last_error}): {calls}"

    def _start(self, opened: _OpenRun, label: str, wait: bool = True) -> str | None:
        if self.enabled:
            self._open_runs.append(opened)
        result: str | None = self._submit(label, opened.resolve, wait=wait)
        return result

    def _target(self, mlflow_run_id: str | None, only_parents: bool = False) -> Callable[[], str]:
        if mlflow_run_id is not None:
            return lambda: mlflow_run_id
        candidates = [opened for opened in self._open_runs if opened.is_parent or not only_parents]
        if candidates:
            return candidates[-1].resolve

        def missing() -> str:
            raise LookupError("no MLflow run is open")

        return missing

    def _submit(self, label: str, call: Callable[[], Any], keep: bool = True, wait: bool = True) -> Any:
        if not self.enabled:
            return None
        entry = _Call(label, call)
        self._queue.append(entry)
        if not wait:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=copy_context().run, args=(self._drain,), daemon=True, name="mlflow-steps"
                )
                self._thread.start()
            return None
        with self._sending:
            self._drain(force=not keep)
            if not keep and entry in self._queue:
                self._queue.remove(entry)
        return entry.result

    def _drain(self, force: bool = False) -> None:
        """Send the queue in order until an outage."""
        with self._sending:
            if not force and time.monotonic() < self._retry_at:
                return
            while self._queue:
                entry = self._queue[0]
                started = time.monotonic()
                try:
                    entry.result = entry.call()
                except Exception as error:
                    if not _is_rejection(error):
                        self._note_outage(entry.label, error, time.monotonic() - started)
                        return
                    logger.warning("MLflow refused %s, which is left out: %s", entry.label, first_line(error))
                else:
                    if not self.available:
                        logger.info("MLflow at %s is back; %d calls to send", self.uri, len(self._queue) - 1)
                    self.available = True
                self._queue.popleft()

    def _note_outage(self, label: str, error: Exception, seconds: float) -> None:
        self._retry_at = time.monotonic() + COOLDOWN_FACTOR * seconds
        self._last_error = first_line(error)
        level = logging.WARNING if self.available else logging.DEBUG
        logger.log(level, "MLflow at %s cannot be reached (%s): %s. The run continues.", self.uri, label, self._last_error)
        self.available = False


def _is_rejection(error: Exception) -> bool:
    """Whether it is the call that is at fault; whatever else went wrong may have passed when it is sent again."""
    if isinstance(error, OSError) or DATABASE_ERROR.search(str(error)) or str(error).startswith(NO_ANSWER):
        return False
    return getattr(error, "error_code", None) in REJECTIONS or isinstance(error, LookupError | TypeError | ValueError)
