"""The calls to MLflow themselves: each may raise, each may be repeated (runs are found by tags, a metric is sent once a step).

Importing mlflow takes seconds, so it is imported by the first call.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline_lib.tracking.conversion import folder_digest
from pipeline_lib.tracking.database import database_path, prepare_database
from pipeline_lib.tracking.limits import TRANSFER_TIMEOUT_SECONDS, LimitedClient, Limits, environment, size_bytes

RUN_ID_TAG = "laconic.run_id"
STAGE_TAG = "laconic.stage"
PREFECT_TAG = "prefect.flow_run_id"
DIGEST_TAG = "laconic.model_digest"

# Limits of MLflow for one log_batch call.
METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}

# Of a new database; seconds on an idle machine.
MAKING_SECONDS = 300.0

MetricPoint = tuple[str, float, int]  # key, value, step


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A version of a registered model and the logged model it was made from."""

    name: str
    version: int
    model_id: str


class Connection:
    """One experiment on one tracking server or database."""

    def __init__(self, uri: str, experiment: str, artifact_folder: Path, limits: Limits) -> None:
        self.uri = uri
        self._limits = limits
        self._experiment = experiment
        self._artifact_folder = artifact_folder
        self._logged_steps: dict[str, dict[str, int]] = {}
        self._client_: Any = None
        self._experiment_id_: str | None = None

    def client(self) -> Any:
        if self._client_ is None:
            for variable, value in QUIET.items():
                os.environ.setdefault(variable, value)
            database = database_path(self.uri)
            if database:
                self._limits.run(lambda: prepare_database(database, self._artifact_folder), MAKING_SECONDS)
            from mlflow import MlflowClient

            self._client_ = LimitedClient(MlflowClient(tracking_uri=self.uri), self._limits)
        return self._client_

    def experiment_id(self) -> str:
        """MLflow's id of the experiment, which is created when it is not there."""
        if self._experiment_id_ is None:
            found = self.client().get_experiment_by_name(self._experiment)
            if found is None:
                is_server = self.uri.startswith(("http", "databricks"))
                location = None if is_server else self._artifact_folder.as_uri()
                try:
                    self._experiment_id_ = self.client().create_experiment(self._experiment, artifact_location=location)
                except Exception:
                    # Another run has made it in the meantime.
                    found = self.client().get_experiment_by_name(self._experiment)
                    if found is None:
                        raise
            if found is not None:
                if found.lifecycle_stage == "deleted":
                    self.client().restore_experiment(found.experiment_id)
                self._experiment_id_ = found.experiment_id
        return str(self._experiment_id_)

    def find_or_create_run(
        self, run_name: str, found_by: Mapping[str, str], tags: Mapping[str, str], params: Mapping[str, str]
    ) -> str:
        """The id of the run that carries the tags `found_by` (reopened), else of a new one; adds tags and missing params."""
        from mlflow.entities import Param, RunTag

        client = self.client()
        condition = " and ".join(f"tags.`{key}` = '{value}'" for key, value in found_by.items())
        runs = client.search_runs([self.experiment_id()], condition, max_results=1, order_by=["attributes.start_time ASC"])
        if runs:
            run = runs[0]
            client.update_run(run.info.run_id, status="RUNNING")
            client.log_batch(run.info.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        else:
            run = client.create_run(self.experiment_id(), run_name=run_name, tags=dict(tags))
        new_params = [Param(key, value) for key, value in params.items() if key not in run.data.params]
        for start in range(0, len(new_params), PARAMS_PER_BATCH):
            client.log_batch(run.info.run_id, params=new_params[start : start + PARAMS_PER_BATCH])
        return str(run.info.run_id)

    def send_steps(self, mlflow_run_id: str, metrics: Sequence[MetricPoint], timestamp_ms: int) -> None:
        """Send the metrics whose step is beyond the last one stored under their key."""
        # Read anew after a failure: the server may have stored a batch whose answer was lost.
        highest = self._logged_steps.pop(mlflow_run_id, None)
        if highest is None:
            client = self.client()
            highest = {
                key: max(point.step for point in client.get_metric_history(mlflow_run_id, key))
                for key in client.get_run(mlflow_run_id).data.metrics
            }
        new = sorted((metric for metric in metrics if metric[2] > highest.get(metric[0], -1)), key=lambda metric: metric[2])
        self.send_metrics(mlflow_run_id, new, timestamp_ms)
        highest.update({key: step for key, _, step in new})
        self._logged_steps[mlflow_run_id] = highest

    def send_metrics(self, mlflow_run_id: str, metrics: Sequence[MetricPoint], timestamp_ms: int) -> None:
        """Send metrics as they are, in as few calls as MLflow allows."""
        from mlflow.entities import Metric

        for start in range(0, len(metrics), METRICS_PER_BATCH):
            batch = [Metric(key, value, timestamp_ms, step) for key, value, step in metrics[start : start + METRICS_PER_BATCH]]
            self.client().log_batch(mlflow_run_id, metrics=batch)

    def send_summary(self, mlflow_run_id: str, metrics: Sequence[MetricPoint], timestamp_ms: int) -> None:
        """Send the metrics whose newest value is another."""
        known = self.client().get_run(mlflow_run_id).data.metrics
        self.send_metrics(mlflow_run_id, [metric for metric in metrics if known.get(metric[0]) != metric[1]], timestamp_ms)

    def stage_runs(self, run_id: str) -> dict[str, tuple[str, str]]:
        """The MLflow runs of one of our runs by stage: MLflow id and status; of several of a stage the oldest."""
        runs = self._runs_of(run_id)
        return {run.data.tags.get(STAGE_TAG, ""): (run.info.run_id, run.info.status) for run in reversed(runs)}

    def end_runs(self, run_id: str, parent_stage: str, status: str, end_ms: int) -> None:
        """End every MLflow run of one of our runs that is still called running; children are never FINISHED by this."""
        of_children = "FAILED" if status == "FINISHED" else status
        for run in self._runs_of(run_id):
            if run.info.status == "RUNNING":
                is_parent = run.data.tags.get(STAGE_TAG) == parent_stage
                self.client().set_terminated(run.info.run_id, status if is_parent else of_children, end_ms)

    def _runs_of(self, run_id: str) -> list[Any]:
        condition, order = f"tags.`{RUN_ID_TAG}` = '{run_id}'", ["attributes.start_time ASC"]
        return list(self.client().search_runs([self.experiment_id()], condition, max_results=1000, order_by=order))

    def send_artifacts(self, mlflow_run_id: str, paths: Sequence[Path], artifact_path: str | None) -> None:
        """Upload files and folders; LookupError when one is missing."""
        missing = [str(path) for path in paths if not path.exists()]
        if missing:
            raise LookupError(f"no such file: {', '.join(missing)}")
        self.client().get_run(mlflow_run_id)
        for path in paths:
            self.client().upload("log_artifacts" if path.is_dir() else "log_artifact", mlflow_run_id, path, artifact_path)

    def register(
        self, folder: Path, name: str, mlflow_run_id: str, alias: str, tags: Mapping[str, str], adapter: Path | None = None
    ) -> RegisteredVersion:
        """Upload a model folder, and an adapter's below it, as a logged model and make it a version.

        LookupError when a folder is missing.
        """
        inner = {adapter.name: adapter} if adapter else {}
        if missing := [str(path) for path in (folder, *inner.values()) if not path.is_dir()]:
            raise LookupError(f"no model folder at {', '.join(missing)}")
        client = self.client()
        all_tags = {**tags, "laconic.mlflow_run_id": mlflow_run_id, DIGEST_TAG: folder_digest(folder, inner)}
        version = self._registered_before(name, all_tags)
        if version is None:
            run = client.get_run(mlflow_run_id)
            logged_name = re.sub(r"[^\w-]", "-", name)
            logged = client.create_logged_model(
                run.info.experiment_id, name=logged_name, source_run_id=mlflow_run_id, tags=all_tags, model_type="transformers"
            )
            client.upload("log_model_artifacts", logged.model_id, folder)
            for inside, path in inner.items():
                client.upload("log_model_artifacts", logged.model_id, path, inside)
            client.finalize_logged_model(logged.model_id, "READY")
            if not client.search_registered_models(filter_string=f"name = '{name}'", max_results=1):
                client.create_registered_model(name)
            with self._as_default():
                source = f"models:/{logged.model_id}"
                version = client.create_model_version(name, source, mlflow_run_id, tags=all_tags, model_id=logged.model_id)
        client.set_registered_model_alias(name, alias, version.version)
        # Not every MLflow store gives a version's model_id back; its source always names the model.
        return RegisteredVersion(name, int(version.version), version.source.removeprefix("models:/"))

    def _registered_before(self, name: str, tags: Mapping[str, str]) -> Any:
        same = {key: tags[key] for key in (DIGEST_TAG, RUN_ID_TAG) if key in tags}
        condition = " and ".join([f"name = '{name}'", *(f"tags.`{key}` = '{value}'" for key, value in same.items())])
        versions = self.client().search_model_versions(condition, max_results=1)
        return versions[0] if versions else None

    def download_version(self, name: str, version: int, destination: Path) -> None:
        """Copy the folder of a version, which may take as long as bytes arrive."""
        from mlflow.artifacts import download_artifacts

        destination.mkdir(parents=True, exist_ok=True)
        download = partial(download_artifacts, f"models:/{name}/{version}", dst_path=str(destination))
        with self._as_default():
            self._limits.run(download, TRANSFER_TIMEOUT_SECONDS, lambda: size_bytes(destination))

    @contextmanager
    def _as_default(self) -> Iterator[None]:
        """Make this tracker MLflow's default: it resolves `models:/` addresses by the process-wide address only."""
        import mlflow

        with environment({"MLFLOW_TRACKING_URI": self.uri}):
            mlflow.set_tracking_uri(self.uri)
            try:
                yield
            finally:
                mlflow.set_tracking_uri(None)
