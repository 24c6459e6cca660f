"""The task that writes a finding's page, in a Prefect flow: files where they belong, artifacts in the server."""

from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.experiments.specification import EXPERIMENTS_FOLDER, ExperimentConfig, child_runs, load_experiment
from pipeline_lib.records import TrainingStep
from pipeline_lib.store.database import Store

EXPERIMENT = f'''
name = "t2"
finding = "F1"
title = "Two stages"
paper = "Length falls first."
base = "{EXPERIMENTS_FOLDER / "base.toml"}"
arms = [{{ name = "reward", label = "length reward" }}]
claims = [{{ text = "Length falls", metric = "length.last", versus_metric = "length.first", arm = "reward", relation = "<" }}]
'''


def record(home: Path, experiment: ExperimentConfig, path: Path) -> None:
    """One recorded child run with two steps."""
    store = Store(home)
    (child,) = child_runs(experiment, path, (0,))
    run_id, key = child.config.run_id, {"experiment": "t2", "arm": "reward", "seed": 0}
    config = child.config.model_dump(mode="json")
    store.write("runs", [{"run_id": run_id, "name": "t2", "status": "completed", "base_model": "m", "config": config}])
    steps: dict[str, Any] = {name: 1 for name in TrainingStep.__slots__ if name != "run_id"}
    store.write("training_steps", [{**steps, "run_id": run_id, "step": step} for step in (1, 2)])
    metrics = {"length.first": 80.0, "length.last": 40.0}
    store.write("experiment_metrics", [{**key, "metric": name, "value": value} for name, value in metrics.items()])
    store.write("experiments", [{**key, "run_id": run_id, "label": "x", "position": 0, "status": "completed", "seconds": 1.0}])


def artifacts() -> dict[str, Any]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found = sorted(client.read_artifacts(), key=lambda artifact: str(artifact.created))
    return {artifact.key: artifact for artifact in found if artifact.key}  # the newest of each key


@pytest.mark.usefixtures("prefect_server")
def test_page_and_pictures_are_files_and_artifacts(home: Path, tmp_path: Path) -> None:
    from prefect import flow

    from tasks.experiment import write_finding

    @flow
    def write_only(experiment: ExperimentConfig, seeds: tuple[int, ...], folder: Path | None) -> dict[str, Any]:
        return write_finding(experiment, seeds, folder)

    path = tmp_path / "t2.toml"
    path.write_text(EXPERIMENT, encoding="utf-8")
    experiment = load_experiment(str(path))
    default = home / "reports" / "experiments" / "t2"
    assert write_only(experiment, (0,), None) == {"page": str(default / "t2.md"), "verdict": "not judged"}
    assert [file.name for file in default.iterdir()] == ["t2.md"]

    record(home, experiment, path)
    pages = tmp_path / "pages"
    assert write_only(experiment, (0,), pages) == {"page": str(pages / "t2.md"), "verdict": "partly"}
    # Nothing was evaluated, so there is no figure of budgets.
    assert sorted(file.name for file in pages.iterdir()) == ["t2-dynamics.png", "t2.md"]
    shown = artifacts()
    assert shown["t2-finding"].data == (pages / "t2.md").read_text(encoding="utf-8")
    assert shown["t2-finding"].description == "F1: partly"
    assert shown["t2-t2-dynamics"].type == "image"
