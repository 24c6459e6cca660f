"""A fleet of actors on a real Ray cluster of two nodes: the runs of the embedded fleet, whoever dies meanwhile; and one batch ahead."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline_lib.config import RunConfig, load_config
from pipeline_lib.fleet.fleets import Fleet, make_fleet
from pipeline_lib.jobs import GenerateJob, GenerateUnit, TrainJob, write_prompts
from pipeline_lib.processes import descendants
from pipeline_lib.prompts import load_prompts
from pipeline_lib.records import FleetEvent, Rollout
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages.restarting import run_job
from pipeline_lib.store.rollout_files import read_rollout_file
from pipeline_lib.tiny_world import BASE_FOLDER
from pipeline_lib.training.batches import prompts_of_step
from pipeline_lib.training.checkpoint_files import choose_resume_step
from pipeline_lib.training.step_folder import StepFolder

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
pytest.importorskip("ray")
pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
CHANGES = [
    "generation.engine=transformers",
    "prompts.num_prompts=16",
    "train.steps=4",
    "train.prompts_per_step=4",
    "train.num_rollouts=4",
    "train.rollout_limit_tokens=96",
    "train.engine_ratio_cap=2.0",
    "train.measure_kl=false",
    "checkpoint.every_steps=2",
    "validation.source.num_prompts=4",
    "compute.num_processes=2",
    "compute.restarts=1",
]
STORE = 100 << 20
history: list[str] = []  # what generators did, since the fleet was started
SAME = ("text", "num_tokens", "finish_reason", "answer", "correct", "reward", "advantage", "masked", "policy_lag")
FIGURES = (
    "reward_mean",
    "accuracy",
    "mean_tokens",
    "loss",
    "grad_norm",
    "optimizer_steps",
    "validation_accuracy",
    "policy_lag",
)


def configure(*changes: str) -> RunConfig:
    return load_config(REPOSITORY / "configs" / "smoke.toml", [*CHANGES, *changes])


def processes(what: str) -> list[psutil.Process]:
    """The actors of a class that this process has started, by the clusters that it has started."""
    found = []
    for process in descendants(os.getpid()):
        try:
            if process.cmdline() and process.cmdline()[0].startswith(f"ray::{what}"):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def wait_until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.1)


class Training:
    """A run that is trained in a folder of its own, by whichever fleet."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.folder, self.config, self.steps = folder, config, StepFolder(folder / "steps")
        assert config.validation
        write_prompts(folder / "prompts.json", load_prompts(config.prompts))
        write_prompts(folder / "validation.json", load_prompts(config.validation.source))
        self.steps.path.mkdir()

    def job(self) -> TrainJob:
        checkpoints = self.folder / "checkpoints"
        step = choose_resume_step(checkpoints)
        self.steps.forget_after(step)
        return TrainJob(
            run_id="run",
            config=self.config,
            base_folder=str(BASE_FOLDER),
            prompts_file=str(self.folder / "prompts.json"),
            validation_file=str(self.folder / "validation.json"),
            rollouts_folder=str(self.folder / "rollouts"),
            steps_folder=str(self.steps.path),
            checkpoints_folder=str(checkpoints),
            resume_step=step,
        )

    def profile(self, limit_tokens: int = 48) -> GenerateJob:
        unit = GenerateUnit(
            run_id="run", stage="profile", step=0, model="tiny", source=self.config.prompts, num_samples=2,
            prompts_file=str(self.folder / "prompts.json"), limit_tokens=limit_tokens, temperature=1.0, top_p=1.0, seed=3,
            shard_prefix="p", output_folder=str(self.folder / "profile"),
        )  # fmt: skip
        return GenerateJob(units=(unit,))

    def rollouts(self, what: str = "rollouts") -> dict[tuple[int, str, int], Rollout]:
        rows = [row for path in (self.folder / what).glob("*.parquet") for row in read_rollout_file(path)]
        return {(row.step, row.prompt_id, row.sample_index): row for row in rows}


def assert_same(first: Training, second: Training) -> None:
    """Rollouts to the byte, but for log-probs, which a batch of another make-up rounds otherwise; figures within 1e-3."""
    for what in ("rollouts", "profile"):
        one, other = first.rollouts(what), second.rollouts(what)
        assert one.keys() == other.keys()
        for key, row in one.items():
            assert [getattr(row, name) for name in SAME] == [getattr(other[key], name) for name in SAME], key
            assert row.mean_logprob == pytest.approx(other[key].mean_logprob, abs=1e-5)
    for row, same in zip(first.steps.rows(), second.steps.rows(), strict=True):
        figures, expected = ([each[name] if each[name] is not None else -1.0 for name in FIGURES] for each in (row, same))
        assert figures == pytest.approx(expected, rel=1e-3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fleet")


def train_alone(folder: Path, *changes: str) -> Training:
    """A short run on vLLM, in a fleet of its own."""
    folder.mkdir()
    training = Training(folder, configure("generation.engine=vllm", "compute.num_processes=1", "train.steps=2", *changes))
    fleet = make_fleet(training.config, str(BASE_FOLDER), folder / "home")
    try:
        fleet.run(training.profile())
        fleet.run(training.job())
    finally:
        fleet.close()
    return training


def test_vllm_in_actors_makes_the_run_of_the_embedded_one(folder: Path) -> None:
    """On a cluster that the run starts and ends; with a part of the weights in each of two processes, too."""
    embedded = train_alone(folder / "vllm")
    assert_same(train_alone(folder / "vllm-ray", "fleet.kind=ray"), embedded)
    assert_same(train_alone(folder / "vllm-parts", "fleet.kind=ray", "generation.tensor_parallel=2"), embedded)


DRIVER = """
import os, sys
from pathlib import Path
from pipeline_lib.config import load_config
from pipeline_lib.fleet.fleets import make_fleet
from pipeline_lib.jobs import GenerateJob
from pipeline_lib.tiny_world import BASE_FOLDER
home = Path(sys.argv[1])
fleet = make_fleet(load_config(sys.argv[2], sys.argv[3:]), str(BASE_FOLDER), home)
fleet.run(GenerateJob(units=()))
print("ready", flush=True)
sys.stdin.read()
"""


def listened(process: psutil.Process) -> set[str]:
    """The addresses that a process listens on."""
    return {each.laddr.ip for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN}


def test_nothing_outlives_the_process_that_started_a_cluster_of_its_own(folder: Path) -> None:
    changes = [*CHANGES, "fleet.kind=ray", "compute.num_processes=1"]
    command = [sys.executable, "-c", DRIVER, str(folder / "home"), str(REPOSITORY / "configs" / "smoke.toml"), *changes]
    driver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True)
    assert driver.stdout and driver.stdout.readline() == "ready\n"
    started = descendants(driver.pid)
    names = [" ".join(process.cmdline()) for process in started]
    assert any("ray::TrainerActor" in name for name in names) and any("ray::GeneratorActor" in name for name in names)
    # Where ranks meet is torch's, which listens everywhere, as under a launcher.
    of_ray = [process for process, name in zip(started, names, strict=True) if "TrainerActor" not in name]
    listening = {(process.name(), ip) for process in of_ray for ip in listened(process) if not ip.endswith("127.0.0.1")}
    assert listening == set(), "nobody else can reach it"
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    # Two agents of Ray look for its dead server for a minute before they end.
    ours = [process for process, name in zip(started, names, strict=True) if "Agent" not in name]
    _, alive = psutil.wait_procs(ours, timeout=10)
    assert alive == []
    assert psutil.wait_procs(started, timeout=90)[1] == []
    for left in Path("/tmp").glob("laconic-*/session_*"):
        shutil.rmtree(left.parent, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    started = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 3, "object_store_memory": STORE, "include_dashboard": False}
    )
    started.second = started.add_node(num_cpus=1, object_store_memory=STORE)
    yield started
    started.shutdown()


@pytest.fixture(scope="module")
def crew(cluster: Any, folder: Path) -> Iterator[tuple[Fleet, RunSession, list[FleetEvent]]]:
    """Two generators, one on each node, and two trainer ranks, as the run of a session."""
    os.environ["LACONIC_HOME"] = str(folder / "home")
    config = configure("fleet.kind=ray", "fleet.generators=2", f"fleet.address={cluster.address}", "fleet.deadline_seconds=6")
    run, events = Run.of(config), list[FleetEvent]()
    ledger = RunSession(run).ledger
    history.clear()

    def note(new: list[FleetEvent]) -> None:
        events.extend(new)
        history.extend(event.kind for event in new if event.actor.startswith("generator"))
        ledger.note_fleet(new)

    fleet = make_fleet(config, str(BASE_FOLDER), folder / "home", on_events=note)
    fleet.start()
    yield fleet, RunSession(run, lent_worker=fleet), events
    fleet.close()
    assert processes("TrainerActor") == processes("GeneratorActor") == []


@pytest.fixture(scope="module")
def undisturbed(crew: Any, folder: Path) -> Training:
    """What the embedded fleet makes of it."""
    (folder / "embedded").mkdir()
    training = Training(folder / "embedded", configure())
    worker = make_fleet(training.config, str(BASE_FOLDER), folder / "home")
    try:
        worker.run(training.profile())
        worker.run(training.job())
    finally:
        worker.close()
    return training


def train(crew: Any, folder: Path, name: str, on_progress: Callable[[dict[str, Any]], None], *changes: str) -> Training:
    fleet, session, events = crew
    events.clear()
    (folder / name).mkdir()
    training = Training(folder / name, configure("fleet.kind=ray", *changes))
    fleet.run(training.profile())
    run_job(session, "train", training.job, on_progress, training.steps.last_step)
    return training


def wait_for_two(crew: Any) -> None:
    """Until both generators can work: as many have started as were not lost."""

    def are_ready() -> bool:
        crew[0].run(GenerateJob(units=()))  # events are told while something runs
        return history.count("started") - history.count("died") - history.count("hung") == 2

    wait_until(are_ready, 120.0)


def once(when: Callable[[dict[str, Any]], bool], what: Callable[[], None]) -> Callable[[dict[str, Any]], None]:
    """Do something at the first progress of a kind."""
    left = [what]

    def hear(progress: dict[str, Any]) -> None:
        if left and when(progress):
            left.pop()()

    return hear


def kinds(crew: Any) -> list[str]:
    return [event.kind for event in crew[2]]


def test_two_generators_and_two_ranks_make_the_run_of_the_embedded_fleet(
    crew: Any, undisturbed: Training, folder: Path
) -> None:
    wait_for_two(crew)
    training = train(crew, folder, "clean", lambda _: None)
    assert_same(training, undisturbed)
    assert any(row["loss"] for row in training.steps.rows()), "a step had something to learn from"
    assert {event.actor for event in crew[2] if event.kind == "generated"} == {"generator-0", "generator-1"}


def test_a_generator_that_is_killed_in_a_batch_changes_nothing(crew: Any, undisturbed: Training, folder: Path) -> None:
    def kill() -> None:
        victim = processes("GeneratorActor")[0]
        victim.suspend()  # so that it has some of a batch, and finishes none of it
        time.sleep(1.5)
        victim.kill()

    training = train(crew, folder, "killed", once(lambda progress: progress["step"] >= 1, kill))
    assert_same(training, undisturbed)
    assert "died" in kinds(crew)
    wait_for_two(crew)


def test_a_generator_that_hangs_is_replaced(crew: Any, undisturbed: Training, folder: Path) -> None:
    training = train(
        crew, folder, "hung", once(lambda progress: progress["step"] >= 1, lambda: processes("GeneratorActor")[0].suspend())
    )
    assert_same(training, undisturbed)
    assert "hung" in kinds(crew)
    wait_for_two(crew)
    assert all(each.status() != psutil.STATUS_STOPPED for each in processes("GeneratorActor"))


def test_a_trainer_rank_that_dies_costs_the_steps_since_the_checkpoint(crew: Any, undisturbed: Training, folder: Path) -> None:
    training = train(
        crew, folder, "rank", once(lambda progress: progress["step"] >= 2, lambda: processes("TrainerActor")[1].kill())
    )
    assert_same(training, undisturbed)
    events = crew[1].store.named("events_of_run", run_id=crew[1].run.run_id)
    assert [(event["kind"], event["stage"]) for event in events] == [("worker_restarted", "train")]
    assert "died" in kinds(crew) and crew[1].store.named("fleet_events_of_run", run_id=crew[1].run.run_id)


def test_one_batch_ahead_overlaps_and_keeps_every_batch_and_the_order(crew: Any, folder: Path) -> None:
    wait_for_two(crew)
    changes = ["train.batches_ahead=1", "train.staleness=2", "train.steps=6", "checkpoint.every_steps=6"]
    training = train(crew, folder, "ahead", lambda _: None, *changes)
    rows, rollouts, config = training.steps.rows(), training.rollouts(), training.config
    assert [row["step"] for row in rows] == list(range(1, 7))
    prompts = load_prompts(config.prompts)
    for row in rows:
        expected = prompts_of_step(prompts, row["step"], config.train.prompts_per_step, config.seed)
        there = {key[1] for key in rollouts if key[0] == row["step"]}
        assert there == {prompt.prompt_id for prompt in expected}, "the batch of that number, whole"
    taken = [0, *(row["optimizer_steps"] for row in rows)]
    for (step, *_), rollout in rollouts.items():
        age = taken[step - 1] - taken[max(step - 2, 0)]
        assert age <= rollout.policy_lag <= age + 1 <= 3
    assert max(row["largest_policy_lag"] for row in rows) == 3, "A S + S - 1"
    updates = {event.batch: event for event in crew[2] if event.kind == "updated" and event.actor == "trainer-0"}
    generated = {event.batch: event for event in reversed(crew[2]) if event.kind == "generated" and event.batch}
    overlaps = [
        generated[after].happened_at.timestamp() < updates[batch].happened_at.timestamp() + updates[batch].seconds
        for batch, after in pairwise(range(1, 7))
    ]
    assert all(overlaps), (updates, generated)


def test_a_node_that_is_lost_costs_its_generator_and_one_that_joins_is_used(
    crew: Any, cluster: Any, undisturbed: Training, folder: Path
) -> None:
    remove = partial(cluster.remove_node, cluster.second, allow_graceful=False)
    training = train(crew, folder, "node", once(lambda progress: progress["step"] >= 1, remove))
    assert_same(training, undisturbed)
    assert "died" in kinds(crew) and len(processes("GeneratorActor")) == 1
    cluster.add_node(num_cpus=1, object_store_memory=STORE)
    wait_for_two(crew)
    later = train(crew, folder, "joined", lambda _: None)
    assert_same(later, undisturbed)
    assert len({event.actor for event in crew[2] if event.kind == "generated"}) == 2
