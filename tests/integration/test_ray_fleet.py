"""A fleet of actors on a real Ray cluster of two nodes: the runs of the embedded fleet, whoever dies meanwhile; and one batch ahead."""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
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
# Not imported: a run that starts a cluster of its own in a process says first that its ports are for this machine alone.
pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")]

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
SAME = (
    "text",
    "num_tokens",
    "finish_reason",
    "answer",
    "correct",
    "reward",
    "advantage",
    "masked",
    "policy_lag",
    "policy_version",
)
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


def on_vllm(folder: Path, *changes: str) -> Training:
    folder.mkdir()
    small = "generation.kv_cache_gib=0.05"  # each process of an engine has such a cache
    return Training(folder, configure("generation.engine=vllm", "compute.num_processes=1", "train.steps=2", small, *changes))


def train_alone(training: Training, then: Callable[[Fleet], None] = lambda _: None) -> None:
    """In a fleet of its own."""
    fleet = make_fleet(training.config, str(BASE_FOLDER), training.folder / "home")
    try:
        fleet.run(training.profile())
        fleet.run(training.job())
        then(fleet)
    finally:
        fleet.close()


def train_until_killed(training: Training, trained: Any) -> None:
    """Then it generates on and on."""

    def go_on(fleet: Fleet) -> None:
        trained.send(None)
        while True:
            fleet.run(training.profile(192))

    train_alone(training, go_on)


@contextmanager
def killed_in_the_end(training: Training) -> Iterator[tuple[BaseProcess, Any]]:
    """A process that trains, as a flow does; and what hears when it has."""
    hears, says = (spawning := get_context("spawn")).Pipe(duplex=False)
    flow = spawning.Process(target=train_until_killed, args=(training, says))
    flow.start()
    says.close()
    try:
        yield flow, hears
    finally:
        flow.kill()
        flow.join()


def listened(process: psutil.Process) -> set[str]:
    """The addresses that a process listens on."""
    return {each.laddr.ip for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN}


def test_vllm_in_actors_makes_the_run_of_the_embedded_one_and_nothing_of_it_is_left_when_the_flow_is_killed(
    folder: Path,
) -> None:
    """On a cluster that the run starts, with a part of the weights in each of two processes."""
    embedded, in_parts = on_vllm(folder / "vllm"), on_vllm(folder / "parts", "fleet.kind=ray", "generation.tensor_parallel=2")
    with killed_in_the_end(in_parts) as (flow, trained):
        train_alone(embedded)
        trained.recv()
        assert_same(in_parts, embedded)
        started = descendants(flow.pid or 0)
        names = [" ".join(process.cmdline()) for process in started]
        for what in ("ray::TrainerActor", "ray::GeneratorActor", "VLLM::Worker_TP1"):
            assert any(what in name for name in names), names
        # Where ranks meet is torch's, which listens everywhere, as under a launcher.
        of_ray = [process for process, name in zip(started, names, strict=True) if not re.search("TrainerActor|VLLM", name)]
        listening = {(process.name(), ip) for process in of_ray for ip in listened(process) if not ip.endswith("127.0.0.1")}
        assert listening == set(), "nobody else can reach it"
        [cluster] = {
            Path(word.split("=")[1]).parents[1] for name in names for word in name.split() if word.startswith("--session_dir=")
        }
        assert cluster.name.startswith("laconic-") and cluster.stat().st_mode & 0o77 == 0, "its sockets neither"
    assert psutil.wait_procs(started, timeout=10)[1] == []
    assert not cluster.exists()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    started = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    )
    started.second = started.add_node(num_cpus=1, object_store_memory=STORE)
    started.third = started.add_node(num_cpus=2, object_store_memory=STORE)  # alone it has room for both ranks
    yield started
    started.shutdown()


@pytest.fixture(scope="module")
def crew(cluster: Any, folder: Path) -> Iterator[tuple[Fleet, RunSession, list[FleetEvent]]]:
    """Two generators, each on a node, and two trainer ranks on a third, as the run of a session."""
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
def undisturbed(folder: Path) -> Training:
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


def is_updating(progress: dict[str, Any]) -> bool:
    """After the checkpoint of step 2."""
    return bool(progress["step"] >= 2 and progress.get("phase") == "updating")


def kinds(crew: Any) -> list[str]:
    return [event.kind for event in crew[2]]


def test_actors_of_a_flow_that_is_killed_leave_the_cluster(cluster: Any, folder: Path, request: Any) -> None:
    (folder / "joined-and-killed").mkdir()
    changes = ["fleet.kind=ray", f"fleet.address={cluster.address}", "compute.num_processes=1", "train.steps=1"]
    with killed_in_the_end(Training(folder / "joined-and-killed", configure(*changes))) as (_, trained):
        request.getfixturevalue("undisturbed")  # meanwhile
        trained.recv()
        actors = [*processes("TrainerActor"), *processes("GeneratorActor"), *processes("Dispatcher")]
        assert len(actors) == 3
    assert psutil.wait_procs(actors, timeout=10)[1] == []


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
    training = train(crew, folder, "rank", once(is_updating, lambda: processes("TrainerActor")[1].kill()))
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
        assert rollout.policy_version == taken[max(step - 2, 0)], "the weights before the batch before"
        age = taken[step - 1] - rollout.policy_version
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


def test_a_node_that_is_lost_with_the_trainer_costs_the_steps_since_the_checkpoint(
    crew: Any, cluster: Any, undisturbed: Training, folder: Path
) -> None:
    def lose() -> None:
        cluster.remove_node(cluster.third, allow_graceful=False)
        wait_until(lambda: not processes("TrainerActor"), 10.0)
        cluster.add_node(num_cpus=2, object_store_memory=STORE)

    training = train(crew, folder, "trainer-node", once(is_updating, lose))
    assert_same(training, undisturbed)
    assert next(event.actor for event in crew[2] if event.kind == "died").startswith("trainer-")
