"""A record of a finished step that is lost or damaged costs no row: it comes back from the store, or its step is trained again."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_lib.config import load_config
from pipeline_lib.records import Alarm, TrainingStep
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages.train import choose_start
from pipeline_lib.training.checkpoint_files import checkpoints_in, seal, step_name
from pipeline_lib.training.step_folder import StepFolder

KILLED_AFTER, CHECKPOINTS = 5, (2, 4)


def row(session: RunSession, step: int) -> TrainingStep:
    return TrainingStep(
        session.run.run_id, step, 0.1 * step, 0.5, 30.0 + step, None, 31.0, 1.2, 0.0, 0.5, 0.25, 0.01, 0.3, 0.2, 0.0, 1e-4, 1e-6, 0.5, step,
        16, 1000.0, 1.0, 1.0, 0.1, 0.1, 0.0,
    )  # fmt: skip


@pytest.fixture
def session(home: Path, configs: Path) -> RunSession:
    """A training that was killed after its fifth step, whose checkpoints are of the second and the fourth."""
    session = RunSession(
        Run.of(load_config(configs / "smoke.toml", ["generation.engine=transformers", "tracking.enabled=false"]))
    )
    folder = session.run.training_folder() / "steps"
    folder.mkdir(parents=True)
    written = StepFolder(folder)
    for step in range(1, KILLED_AFTER + 1):
        written.write_step(row(session, step))
    written.write_alarms([Alarm(session.run.run_id, 3, "entropy_spike", 2.0, 1.0, "roll_back")])
    for step in CHECKPOINTS:
        path = session.run.checkpoints_folder() / step_name(step)
        (path / "model").mkdir(parents=True)
        (path / "model/model.safetensors").write_bytes(b"weights")
        seal(path, {"step": step, "best_step": step, "validation_accuracy": None})
    session.store.write("training_steps", [row(session, step) for step in range(1, KILLED_AFTER + 1)])
    session.store.write("alarms", StepFolder(folder).alarms())
    return session


def change_a_digit(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "accuracy": 0.25, "value": 3.0}))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "overwritten": lambda path: path.write_bytes(bytes(range(256))),
    "of another step": lambda path: path.write_bytes(path.with_name("step-00001.json").read_bytes()),
    "another number": change_a_digit,
}


def stored_steps(session: RunSession) -> list[tuple[int, float]]:
    return [(each["step"], each["accuracy"]) for each in session.store.named("training_curve", run_id=session.run.run_id)]


@pytest.mark.parametrize("name", ["step-00003.json", "alarm-00003-entropy_spike.json"])
@pytest.mark.parametrize("how", DAMAGES)
def test_a_lost_record_comes_back_from_the_store(
    session: RunSession, name: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    steps = StepFolder(session.run.training_folder() / "steps")
    whole, alarms = steps.rows(), steps.alarms()
    DAMAGES[how](steps.path / name)
    with caplog.at_level(logging.WARNING):
        assert choose_start(session, steps) == 4
    assert steps.rows() == whole[:4] and steps.alarms() == alarms
    assert stored_steps(session) == [(step, 0.5) for step in range(1, 5)]
    told = f"records in {steps.path} of steps 3 were lost or damaged: restored from the store"
    assert [record.getMessage() for record in caplog.records] == [told]


@pytest.mark.parametrize("how", DAMAGES)
def test_without_a_row_the_step_is_trained_again(session: RunSession, how: str, caplog: pytest.LogCaptureFixture) -> None:
    steps = StepFolder(session.run.training_folder() / "steps")
    session.store.replace("training_steps", {"run_id": session.run.run_id}, [row(session, step) for step in (1, 2, 4)])
    DAMAGES[how](steps.path / "step-00003.json")
    with caplog.at_level(logging.WARNING):
        assert choose_start(session, steps) == 2
    assert list(checkpoints_in(session.run.checkpoints_folder())) == [2]
    assert stored_steps(session) == [(1, 0.5), (2, 0.5)]
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("the records of step 3 are lost") and line.endswith(": step-00004.damaged")


def test_whole_records_are_left_alone(session: RunSession, caplog: pytest.LogCaptureFixture) -> None:
    steps = StepFolder(session.run.training_folder() / "steps")
    (steps.path / "step-00005.json").write_bytes(b"{")  # after the checkpoint: it is taken again anyway
    change_in_store = [{"run_id": session.run.run_id, "step": 2, "accuracy": 0.75}]
    session.store.write("training_steps", change_in_store)
    with caplog.at_level(logging.WARNING):
        assert choose_start(session, steps) == 4
    assert not caplog.records
    assert stored_steps(session) == [(step, 0.5) for step in range(1, 5)], "the files are what the training wrote"


def test_damage_while_it_trains_is_one_line(session: RunSession) -> None:
    steps = StepFolder(session.run.training_folder() / "steps")
    (steps.path / "step-00003.json").write_bytes(b"{")
    with pytest.raises(ValueError, match=r"step-00003.json is damaged: the same command again restores it"):
        steps.new_rows()
