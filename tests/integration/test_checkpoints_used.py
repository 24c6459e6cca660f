"""A checkpoint is used by register and evaluate only when it is whole; where it is not, one line says so and what to do."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_lib.config import load_config
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages import STAGES
from pipeline_lib.stages.runner import run_stage
from pipeline_lib.training.checkpoint_files import CheckpointError, checkpoint_records, seal

OVERRIDES = ["generation.engine=transformers", "tracking.enabled=false"]


@pytest.fixture
def session(home: Path, configs: Path) -> RunSession:
    """A run with one checkpoint, the best."""
    session = RunSession(Run.of(load_config(configs / "smoke.toml", OVERRIDES)))
    path = session.run.checkpoints_folder() / "step-00006"
    (path / "model").mkdir(parents=True)
    (path / "model/model.safetensors").write_bytes(b"weights")
    seal(path, {"step": 6, "best_step": 6, "validation_accuracy": 0.5, "weights_id": "id-6"})
    session.store.write("checkpoints", checkpoint_records(session.run.run_id, session.run.checkpoints_folder()))
    session.open(None)
    return session


def flip(path: Path) -> None:
    (path / "model/model.safetensors").write_bytes(b"weighty")


@pytest.mark.parametrize("stage", ["register", "evaluate"])
@pytest.mark.parametrize(
    ("damage", "told"), [(flip, "is damaged: model/model.safetensors has other"), (shutil.rmtree, "is gone")]
)
def test_a_best_checkpoint_that_is_damaged_or_gone_is_not_used(
    session: RunSession, stage: str, damage: Callable[[Path], None], told: str
) -> None:
    path = session.run.checkpoints_folder() / "step-00006"
    damage(path)
    with pytest.raises(CheckpointError) as caught:
        run_stage(STAGES[stage].stage, [session])
    assert str(caught.value).startswith(f"checkpoint {path} {told}")
    assert f"or run 'laconic train' with the configuration of {session.run.run_id}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not session.store.query("select * from stage_results").rows


def test_a_whole_one_is_registered(session: RunSession) -> None:
    assert run_stage(STAGES["register"].stage, [session]) == {"registered": False}  # tracking is off
