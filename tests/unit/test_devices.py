"""Which cards a run and its control take, and when they take turns."""

import os
import sys
from pathlib import Path

import pytest

from pipeline_lib.config import load_config
from pipeline_lib.config.run import RunConfig
from pipeline_lib.jobs import GenerateJob, TrainJob
from pipeline_lib.runs.session import sessions_of
from pipeline_lib.worker import devices, process
from pipeline_lib.worker.devices import VISIBLE, device_environment, runs_side_by_side, visible_devices
from pipeline_lib.worker.process import WorkerProcess

CONTROL = ["control.enabled=true", "control.rollout_limit_tokens=128"]


def config_of(configs: Path, *changes: str) -> RunConfig:
    return load_config(configs / "smoke.toml", [*CONTROL, *changes])


@pytest.mark.parametrize(
    ("cards", "changes", "expected"),
    [
        ([], [], True),
        ([], ["control.side_by_side=false"], False),
        ([], ["compute.num_processes=2"], False),
        (["0"], [], False),  # two engines on one card
        (["0", "1"], [], False),  # both workers would take the first
        (["0", "1"], ["control.devices=[1]"], True),
        (["0"], ["control.devices=[0]"], True),  # shared because the user says so
        (["0", "1"], ["control.devices=[1]", "control.side_by_side=false"], False),
        (list("01234567"), ["compute.num_processes=4"], False),
        (list("01234567"), ["compute.num_processes=4", "control.devices=[4, 5, 6, 7]"], True),
    ],
)
def test_run_and_control_share_no_card_unasked(
    cards: list[str], changes: list[str], expected: bool, configs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "visible_devices", lambda: cards)
    assert runs_side_by_side(config_of(configs, *changes)) is expected


def test_child_runs_on_a_fleet_of_actors_are_done_one_after_another(configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.experiments import default_lanes

    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(Path, "exists", lambda _: False)
    lanes = [default_lanes(config_of(configs, "compute.num_threads=1", *changes)) for changes in ([], ["fleet.kind=ray"])]
    monkeypatch.undo()
    assert lanes == [64, 1]


def test_the_cards_of_a_worker_are_those_named_among_the_visible_ones(configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(configs, "compute.num_processes=2", "control.devices=[2, 3]")
    monkeypatch.setattr(devices, "visible_devices", lambda: ["4", "5", "GPU-6a", "GPU-7b"])
    assert device_environment(config.control.devices) == {VISIBLE: "GPU-6a,GPU-7b"}
    assert device_environment(()) == {}
    with pytest.raises(ValueError, match=r"control.devices = \[2, 4\]: the cards here are 0 to 3"):
        device_environment((2, 4))
    for wrong in ("[1]", "[1, 1]"):
        with pytest.raises(ValueError, match=r"compute.num_processes = 2 needs as many cards, each once"):
            config_of(configs, "compute.num_processes=2", f"control.devices={wrong}")
    monkeypatch.setattr(devices, "visible_devices", list)
    assert device_environment(config.control.devices) == {}, "the same file runs on a CPU"


def test_the_control_alone_is_given_the_named_cards(home: Path, configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str, tuple[int, ...]]] = []

    class Unstarted:
        def __init__(self, config: RunConfig, *_: object, devices: tuple[int, ...], **__: object) -> None:
            given.append((config.name, devices))

        def start(self) -> None: ...

    monkeypatch.setattr("pipeline_lib.fleet.fleets.WorkerProcess", Unstarted)
    for session in sessions_of(config_of(configs, "control.devices=[3]")):
        _ = session.worker
    assert given == [("smoke", ()), ("smoke-control", (3,))]


class Answering(WorkerProcess):
    """Its process answers a job with the share of a GPU that its engine was told to take, and ends when it is closed."""

    def _command(self) -> list[str]:
        program = (
            "import json, pathlib, sys, time\n"
            "folder, number = pathlib.Path(sys.argv[1]), 0\n"
            "generation = json.loads((folder / 'worker.json').read_text())['config']['generation']\n"
            "while not (folder / 'close').exists():\n"
            "    if (folder / f'{number:04d}.json').exists():\n"
            "        value = [generation['gpu_memory_utilization'], str(folder)]\n"
            "        (folder / 'new').write_text(json.dumps({'value': value}))\n"
            "        (folder / 'new').rename(folder / f'{number:04d}.result.json')\n"
            "        number += 1\n"
            "    time.sleep(0.01)\n"
        )
        return [sys.executable, "-c", program, str(self.folder)]


@pytest.mark.parametrize(
    ("cards", "alone", "shares"),
    [
        (["0"], 0.85, [0.85, 0.85, 0.6, 0.6, 0.85]),
        (["0"], None, [0.6] * 5),
        (["0"], 0.3, [0.6] * 5),  # never less than beside a trainer
        ([], 0.85, [0.6] * 5),
    ],
)
def test_an_engine_alone_takes_more_of_its_gpu_and_a_new_worker_less_for_training(
    cards: list[str], alone: float | None, shares: list[float], configs: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [
        "generation.gpu_memory_utilization=0.6",
        *([f"generation.gpu_memory_utilization_alone={alone}"] if alone else []),
    ]
    monkeypatch.setattr(process, "visible_devices", lambda: cards)
    config = config_of(configs, *changes)
    paths = {f"{name}_folder": "x" for name in ("base", "rollouts", "steps", "checkpoints")}
    train = TrainJob(run_id="r", config=config, prompts_file="x", **paths)
    worker, generate = Answering(config, "x", home, will_train=True), GenerateJob(units=())
    worker.start()
    try:
        answers = [worker.run(job) for job in (generate, generate, train, train, generate)]
    finally:
        worker.kill()
    assert [share for share, _ in answers] == shares
    assert len({folder for _, folder in answers}) == (3 if len(set(shares)) > 1 else 1)
    assert train.config.generation.gpu_memory_utilization == 0.6


@pytest.mark.parametrize(
    ("variable", "there", "expected"),
    [
        (None, 2, ["0", "1"]),
        ("1", 2, ["1"]),
        ("", 2, []),
        ("-1", 2, []),
        ("GPU-6a, MIG-7b", 2, ["GPU-6a", "MIG-7b"]),
        ("0,1", 0, []),
    ],
)
def test_the_visible_cards_are_those_of_the_machine_or_of_the_environment(
    variable: str | None, there: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [self / f"nvidia{number}" for number in range(there)])
    monkeypatch.delenv(VISIBLE, raising=False)
    if variable is not None:
        monkeypatch.setenv(VISIBLE, variable)
    assert visible_devices() == expected
