"""A checkpoint is used by register and evaluate only when it is whole; where it is not, one line says so and what to do."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.config import load_config
from pipeline_lib.runs.session import RunSession
from pipeline_lib.training.checkpoint_files import CheckpointError, checkpoint_records, seal
from tasks.evaluate_budgets import evaluate_budgets
from tasks.register_model import register_model

OVERRIDES = ["generation.engine=transformers", "tracking.enabled=false"]


@pytest.fixture
def run(home: Path, configs: Path) -> RunSession:
    """A run with one checkpoint, the best."""
    run = RunSession(load_config(configs / "smoke.toml", OVERRIDES))
    path = run.checkpoints_folder() / "step-00006"
    (path / "model").mkdir(parents=True)
    (path / "model/model.safetensors").write_bytes(b"weights")
    seal(path, {"step": 6, "best_step": 6, "validation_accuracy": 0.5, "weights_id": "id-6"})
    run.store.write("checkpoints", checkpoint_records(run.run_id, run.checkpoints_folder()))
    run.open(None)
    return run


def flip(path: Path) -> None:
    (path / "model/model.safetensors").write_bytes(b"weighty")


@pytest.mark.parametrize("use", [register_model.fn, lambda run: evaluate_budgets.fn([run])], ids=["register", "evaluate"])
@pytest.mark.parametrize(
    ("damage", "told"), [(flip, "is damaged: model/model.safetensors has other"), (shutil.rmtree, "is gone")]
)
def test_a_best_checkpoint_that_is_damaged_or_gone_is_not_used(
    run: RunSession, use: Callable[[Any], Any], damage: Callable[[Path], None], told: str
) -> None:
    path = run.checkpoints_folder() / "step-00006"
    damage(path)
    with pytest.raises(CheckpointError) as caught:
        use(run)
    assert str(caught.value).startswith(f"checkpoint {path} {told}")
    assert f"or run 'laconic train' with the configuration of {run.run_id}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not run.store.query("select * from stage_results").rows


def test_a_whole_one_is_registered(run: RunSession) -> None:
    assert register_model.fn(run) == {"registered": False}  # tracking is off
