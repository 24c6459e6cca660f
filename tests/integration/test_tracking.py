"""Tracking against a real MLflow on SQLite: runs, step metrics, artifacts, the model registry."""

import logging
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.config import TrackingConfig
from pipeline_lib.tracking import Registry, Tracker
from pipeline_lib.tracking.conversion import folder_digest


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database for the module: making its tables takes seconds."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _no_tracking_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def new_tracker(home: Path) -> Tracker:
    return Tracker(TrackingConfig(experiment="laconic-test"), home)


def mlflow_client(home: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{home}/mlflow.db")


def history(home: Path, run_id: str, key: str) -> list[tuple[int, float]]:
    return sorted((point.step, point.value) for point in mlflow_client(home).get_metric_history(run_id, key))


def test_parent_and_children_carry_tags_params_and_status(home: Path) -> None:
    tracker = new_tracker(home)
    many = {f"key{number}": number for number in range(150)}
    parent = tracker.start_parent("demo", "demo-1", {"prefect.flow_run_id": "flow-7"}, {"train": {"steps": 40}, "many": many})
    child = tracker.start_child(parent, "train")
    assert parent and child and tracker.available and tracker.pending == 0
    tracker.finish(child)
    tracker.finish(parent, "FAILED")

    client = mlflow_client(home)
    run, stage = client.get_run(parent), client.get_run(child)
    assert run.data.tags["laconic.run_id"] == "demo-1"
    assert run.data.tags["prefect.flow_run_id"] == "flow-7"
    assert run.data.params["train.steps"] == "40"
    assert len(run.data.params) == 151
    assert run.info.status == "FAILED"
    assert run.info.artifact_uri.startswith((home / "mlartifacts").as_uri())
    assert stage.data.tags["mlflow.parentRunId"] == parent
    assert (stage.data.tags["laconic.stage"], stage.data.tags["laconic.run_id"]) == ("train", "demo-1")
    assert stage.data.tags["prefect.flow_run_id"] == "flow-7"
    assert stage.info.status == "FINISHED"


def test_a_restart_reopens_the_same_runs(home: Path) -> None:
    first = new_tracker(home)
    parent = first.start_parent("again", "again-1", params={"seed": 0})
    child = first.start_child(parent, "train")
    first.finish(child)
    first.finish(parent)

    second = new_tracker(home)
    assert second.start_parent("again", "again-1", params={"seed": 0, "new": 1}) == parent
    assert second.start_child(parent, "train") == child
    assert second.start_child(parent, "evaluate") != child
    client = mlflow_client(home)
    assert client.get_run(parent).info.status == "RUNNING"
    assert client.get_run(parent).data.params == {"seed": "0", "new": "1"}


def test_each_metric_is_stored_once_a_step(home: Path) -> None:
    tracker = new_tracker(home)
    child = tracker.start_child(tracker.start_parent("steps", "steps-1"), "train")
    tracker.log_steps(
        child, [{"step": 1, "loss": 0.5, "kl": None, "run_id": "r"}, {"step": 2, "loss": float("nan"), "kl": 0.1}]
    )
    tracker.log_steps(child, [{"step": 2, "validation_accuracy": 0.7}])

    restarted = new_tracker(home)
    restarted.log_steps(child, [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.4, "kl": 0.1}, {"step": 3, "loss": 0.3}])
    assert history(home, child or "", "loss") == [(1, 0.5), (2, 0.4), (3, 0.3)]
    assert history(home, child or "", "kl") == [(2, 0.1)]
    assert history(home, child or "", "validation_accuracy") == [(2, 0.7)]
    assert "run_id" not in mlflow_client(home).get_run(child).data.metrics
    assert "step" not in mlflow_client(home).get_run(child).data.metrics


def test_more_metrics_than_one_batch_holds(home: Path) -> None:
    tracker = new_tracker(home)
    child = tracker.start_child(tracker.start_parent("batch", "batch-1"), "train")
    tracker.log_steps(child, [{"step": step, "a": step, "b": 2 * step, "c": 1.0} for step in range(1, 701)])
    assert history(home, child or "", "b") == [(step, 2.0 * step) for step in range(1, 701)]
    assert len(history(home, child or "", "c")) == 700


def test_summary_shows_the_newest_figures_and_artifacts_arrive(home: Path, tmp_path: Path) -> None:
    tracker = new_tracker(home)
    parent = tracker.start_parent("summary", "summary-1")
    tracker.log_summary(parent, {"tiny-sum/mean_at_k@48": 0.25})
    tracker.log_summary(parent, {"tiny-sum/mean_at_k@48": 0.5})
    assert mlflow_client(home).get_run(parent).data.metrics == {"tiny-sum/mean_at_k_48": 0.5}

    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "figure.png").write_bytes(b"png")
    (tmp_path / "report.html").write_text("<p>")
    tracker.log_artifacts(parent, [tmp_path / "report.html", tmp_path / "folder"], "report")
    names = {entry.path for entry in mlflow_client(home).list_artifacts(parent, "report")}
    assert names == {"report/report.html", "report/figure.png"}


def test_what_mlflow_refuses_is_left_out_with_a_warning(home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = new_tracker(home)
    parent = tracker.start_parent("refused", "refused-1")
    with caplog.at_level(logging.WARNING, "pipeline_lib.tracking"):
        tracker.log_artifacts(parent, [tmp_path / "absent"])
        tracker.log_summary("0" * 32, {"a": 1.0})
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "absent" in caplog.text
    assert tracker.available and tracker.pending == 0


def test_a_registered_model_comes_back_byte_for_byte(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    (folder / "sub" / "merges.txt").write_text("a b\n")
    tracker = new_tracker(home)
    parent = tracker.start_parent("qwen3-0.6b", "qwen3-0.6b-1")
    tags = {"laconic.run_id": "qwen3-0.6b-1", "step": 40, "prefect_flow_run_id": None}
    first = tracker.register_model(folder, "qwen3-0.6b", parent, tags=tags)
    assert first and (first.name, first.version) == ("qwen3-0.6b", 1)
    assert tracker.register_model(folder, "qwen3-0.6b", parent, tags=tags) == first

    registry = Registry(TrackingConfig(), home)
    in_place = registry.folder("qwen3-0.6b", registry.version_of("qwen3-0.6b", "challenger"))
    files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {path.relative_to(in_place): path.read_bytes() for path in in_place.rglob("*") if path.is_file()} == files

    (folder / "config.json").write_text("{}")
    second = tracker.register_model(folder, "qwen3-0.6b", parent, tags=tags)
    assert second and second.version == 2
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"r": 8}')
    third = tracker.register_model(folder, "qwen3-0.6b-lora", parent, tags=tags, adapter=adapter)
    assert third and tracker.register_model(folder, "qwen3-0.6b-lora", parent, tags=tags, adapter=adapter) == third
    both = registry.folder("qwen3-0.6b-lora", third.version)
    assert (both / "config.json").is_file() and (both / "adapter" / "adapter_config.json").read_text() == '{"r": 8}'
    digest = mlflow_client(home).get_model_version("qwen3-0.6b-lora", "1").tags["laconic.model_digest"]
    assert folder_digest(both) == digest, "a copy in another home is checked by it"
    client = mlflow_client(home)
    version = client.get_model_version_by_alias("qwen3-0.6b", "challenger")
    assert int(version.version) == 2
    assert version.tags["laconic.run_id"] == "qwen3-0.6b-1"
    assert version.tags["step"] == "40"
    assert version.tags["laconic.mlflow_run_id"] == parent
    assert client.get_logged_model(second.model_id).source_run_id == parent
    assert client.get_logged_model(second.model_id).status == "READY"


def test_disabled_tracking_does_nothing(tmp_path: Path) -> None:
    tracker = Tracker(TrackingConfig(enabled=False), tmp_path / "none")
    assert tracker.start_parent("x", "x-1") is None
    assert tracker.start_child(None, "train") is None
    tracker.log_steps(None, [{"step": 1, "loss": 1.0}])
    tracker.finish(None)
    assert tracker.register_model(tmp_path, "x", None) is None
    assert tracker.flush() and tracker.pending == 0
    assert not (tmp_path / "none").exists()


def test_the_address_comes_from_the_config_then_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Tracker(TrackingConfig(), tmp_path).uri == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert Tracker(TrackingConfig(), tmp_path).uri == "http://127.0.0.1:5000"
    assert Tracker(TrackingConfig(uri="http://127.0.0.1:6000"), tmp_path).uri == "http://127.0.0.1:6000"
