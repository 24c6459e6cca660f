"""The fleet on Ray: trainer ranks, generators and their dispatcher are actors, which end with the process that started them.

Ray places them, carries calls and weights, and says who has died; everything else is in the modules beside this one.
"""

import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from pipeline_lib.config import RunConfig
from pipeline_lib.fleet.actors import GeneratorActor, Place, TrainerActor
from pipeline_lib.fleet.afterwards import nothing_left
from pipeline_lib.fleet.dispatcher import Dispatcher, FleetError
from pipeline_lib.fleet.placement import num_processes, of_a_process, require_room, trainer_bundles
from pipeline_lib.jobs import GenerateJob, TrainJob, read_failure, read_json, write_json
from pipeline_lib.messages.faults import explain, one_line, will_repeat
from pipeline_lib.processes import thread_environment
from pipeline_lib.records import FleetEvent
from pipeline_lib.worker.process import WorkerFailed, new_folder, prepare_folder

POLL_SECONDS = 0.1
EVENT_SECONDS = 1.0
START_SECONDS = 600.0
# Of this process's environment, what its actors are to have on whatever node.
HANDED_ON = ("HF_", "VLLM_", "NCCL_", "GLOO_", "LACONIC_", "PYTHONPATH", "DO_NOT_TRACK")

logger = logging.getLogger(__name__)


class Connection:
    """This process's connection to a cluster, which the fleets in it share; the last to leave ends it, and a cluster of its own."""

    _lock = threading.Lock()
    _users, _address = 0, ""
    _over = threading.Event()
    _holder: threading.Thread

    @classmethod
    def join(cls, address: str, num_cpus: int) -> None:
        """Connect; without an address to a new cluster on this machine, reached from it alone."""
        with cls._lock:
            if not cls._users:
                connected, cls._over = Future[None](), threading.Event()
                # A cluster's processes end with the thread that has started them; and from a thread Ray leaves our signals alone.
                cls._holder = threading.Thread(target=cls._hold, args=(address, num_cpus, connected), daemon=True, name="ray")
                cls._holder.start()
                connected.result()
                cls._address = address
            elif address != cls._address:
                raise FleetError(
                    f"this process has a run on the cluster at {cls._address or 'its own'}: one of its own for each other"
                )
            cls._users += 1

    @classmethod
    def leave(cls) -> None:
        """Give the connection up."""
        with cls._lock:
            cls._users -= 1
            if not cls._users:
                cls._over.set()
                cls._holder.join()

    @classmethod
    def _hold(cls, address: str, num_cpus: int, connected: "Future[None]") -> None:
        logging.getLogger("ray").setLevel(logging.ERROR)
        with tempfile.TemporaryDirectory(prefix="laconic-", dir="/tmp", ignore_cleanup_errors=True) as folder:
            # Below a folder that is closed to others: Ray lets everyone write into its own.
            own = {} if address else {"num_cpus": num_cpus, "include_dashboard": False, "_temp_dir": f"{folder}/ray"}
            try:
                ray.init(address or "local", log_to_driver=False, configure_logging=False, **own)
                with nothing_left(Path(folder)) if own else nullcontext():
                    connected.set_result(None)
                    cls._over.wait()
            except BaseException as error:
                connected.set_exception(error)
            finally:
                ray.shutdown()


class RemoteEngine:
    """A generator's actor as the dispatcher knows it."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def call(self, method: str, *arguments: Any) -> Any:
        """See `Engine.call`."""
        return await getattr(self._actor, method).remote(*arguments)

    def kill(self) -> None:
        """See `Engine.kill`; one that is stopped takes Ray five seconds."""
        ray.kill(self._actor)


class RayFleet:
    """A `Fleet` on the cluster at `fleet.address`. Trainer ranks are placed first, all or none; generators where there is room."""

    def __init__(self, config: RunConfig, base_folder: str, home: Path, on_events: Callable[[list[FleetEvent]], None]) -> None:
        self._config, self._home, self._base_folder, self._on_events = config, home, base_folder, on_events
        self._share = config.generation.memory_share(trains=config.fleet.is_split)
        self.folder = home
        self._started: Future[None] | None = None
        self._dispatcher: Any = None
        self._trainers: list[Any] = []
        self._places: list[Place] = []
        self._bundles: PlacementGroup | None = None
        self._next_job, self._events_due = 0, 0.0
        self._changing = threading.RLock()
        self._is_connected, self._is_ended = False, False

    def start(self) -> None:
        """See `Fleet.start`; returns at once."""
        with self._changing:
            if self._is_ended:
                raise WorkerFailed(f"the fleet of {self._config.run_id} was ended")
            if self._started is None:
                self._started = Future()
                threading.Thread(target=self._start, args=(self._started,), daemon=True, name="fleet").start()

    def _start(self, started: "Future[None]") -> None:
        try:
            with self._changing:
                if not self._is_connected:
                    num_cpus = num_processes(self._config) * self._config.compute.num_threads
                    Connection.join(self._config.fleet.address, num_cpus)
                    self._is_connected = True
            self._start_actors()
            started.set_result(None)
        except BaseException as error:
            started.set_exception(error)
        if self._is_ended:  # meanwhile
            self._end()

    def _start_actors(self) -> None:
        self.folder, self._next_job = new_folder(self._home, self._config), 0
        prepare_folder(self.folder, self._config, self._share, {"base_folder": self._base_folder})
        self._bundles = self._bundles or self._reserve()
        for is_last in (False, True):  # it takes Ray some seconds to notice that a node is gone: until then it has room
            if not self._bundles.wait(START_SECONDS):
                number = self._config.compute.num_processes
                raise FleetError(f"no room for {number} trainer ranks in {START_SECONDS:g} s: others use the cluster")
            if self._dispatcher is None and self._config.fleet.is_split:
                self._dispatcher = self._start_dispatcher()
                ray.get(self._dispatcher.start.remote())
            try:
                return self._start_trainers(self._bundles)
            except RayActorError:
                self._end_trainers()
                if is_last or self._is_ended:
                    raise

    def _start_trainers(self, bundles: PlacementGroup) -> None:
        for bundle, size in enumerate(trainer_bundles(self._config)):
            placed = {"scheduling_strategy": PlacementGroupSchedulingStrategy(bundles, bundle)}
            actor = ray.remote(TrainerActor).options(**self._resources(1), **placed)
            first = len(self._trainers)
            self._trainers += [actor.remote(first + place, self.folder, node_address) for place in range(size)]
        self._places = ray.get([trainer.place.remote() for trainer in self._trainers])
        engines = (partial(ask, self._dispatcher), _put) if self._dispatcher else None
        ray.get([trainer.join.remote(self._places, engines) for trainer in self._trainers])

    def _reserve(self) -> PlacementGroup:
        """Room for the trainer. Raises FleetError where there is none for it, or for it and a generator, in the whole cluster."""
        require_room(self._config, ray.cluster_resources())
        each, sizes = of_a_process(self._config, _has_gpus()), trainer_bundles(self._config)
        return placement_group([{kind: size * number for kind, number in each.items()} for size in sizes], strategy="PACK")

    def _start_dispatcher(self) -> Any:
        """On the node of this process; it starts the generators, and is told to forget the trainer's wishes when that is another."""
        config, base_folder, folder = self._config, self._base_folder, self.folder
        options = {**self._resources(config.generation.tensor_parallel), "max_concurrency": 8}

        def start_engine(name: str) -> RemoteEngine:  # whose GPUs are of one node, as all that an actor has
            actor = ray.remote(GeneratorActor).options(**options)
            return RemoteEngine(actor.remote(config, base_folder, folder, name, node_address))

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(Dispatcher).options(**self._resources(0), scheduling_strategy=here)
        fleet = config.fleet
        return actor.remote(start_engine, fleet.generators, config.generation.max_num_seqs, base_folder, fleet.deadline_seconds)

    def _resources(self, number: int) -> dict[str, Any]:
        """What so many processes take of a node, and what must be in the environment before torch is imported."""
        handed_on = {name: value for name, value in os.environ.items() if name.startswith(HANDED_ON)}
        threads = thread_environment(self._config.compute.num_threads)
        taken = {f"num_{kind.lower()}s": number * of_each for kind, of_each in of_a_process(self._config, _has_gpus()).items()}
        return {**taken, "runtime_env": {"env_vars": handed_on | threads}}

    @property
    def is_running(self) -> bool:
        """See `Fleet.is_running`."""
        return self._started is not None and not self._is_ended

    def run(self, job: GenerateJob | TrainJob, on_progress: Callable[[dict[str, Any]], None] | None = None) -> Any:
        """See `Fleet.run`; an engine beside the trainer has another share of the GPU where a job needs none, as in a worker."""
        share = self._config.generation.memory_share(self._config.fleet.is_split or isinstance(job, TrainJob))
        self._wait_for_start()
        if share != self._share and _has_gpus():
            self._share = share
            self.restart()
            self._wait_for_start()
        number, self._next_job = self._next_job, self._next_job + 1
        write_json(self.folder / f"{number:04d}.json", job.model_dump(mode="json"))
        progress_path, seen = self.folder / f"{number:04d}.progress.json", None
        left = {trainer.run.remote(number): rank for rank, trainer in enumerate(self._trainers)}
        while left:
            done, _ = ray.wait(list(left), timeout=POLL_SECONDS)
            if on_progress and progress_path.exists() and (progress := read_json(progress_path)) != seen:
                on_progress(seen := progress)
            try:
                self._hand_on_events()
                for reference in done:
                    ray.get(reference)
                    del left[reference]
            except (RayError, ConnectionError) as error:
                raise self._failure(error, left.get(done[0]) if done else None) from error
        self._hand_on_events(at_once=True)
        return read_json(self.folder / f"{number:04d}.result.json")["value"]

    def _wait_for_start(self) -> None:
        self.start()
        assert self._started is not None
        try:
            self._started.result()
        except Exception as error:
            cause = error.cause if isinstance(error, RayTaskError) else error
            line = f"{explain(cause, self._home)} (log: {self.folder})"
            raise WorkerFailed(line, self._is_ended or will_repeat(cause)) from error

    def _failure(self, error: Exception, rank: int | None) -> WorkerFailed:
        """What a rank has noted, or else that it died without a word."""
        actor, node = ("the dispatcher", "") if rank is None else (f"trainer-{rank}", self._places[rank].address)
        failure = read_failure(self.folder)
        line = failure["line"] if failure else f"{actor} of the fleet died: {one_line(str(error))[:300]}"
        with suppress(Exception):
            self._hand_on_events(at_once=True)
        self._on_events([FleetEvent(self._config.run_id, datetime.now(UTC), actor, node, "died", "", None, None, line)])
        repeats = bool(failure and failure["repeats"]) or self._is_ended
        return WorkerFailed(f"{line} (log: {self.folder})", repeats)

    def _hand_on_events(self, at_once: bool = False) -> None:
        if self._dispatcher and (at_once or time.monotonic() > self._events_due):
            self._events_due = time.monotonic() + EVENT_SECONDS
            if events := ask(self._dispatcher, "events"):
                self._on_events([replace(event, run_id=self._config.run_id) for event in events])

    def restart(self) -> None:
        """See `Fleet.restart`: the trainer is another, the generators stay as long as their dispatcher lives."""
        with self._changing:
            if self._is_ended:
                raise WorkerFailed(f"the fleet of {self._config.run_id} was ended")
            self._end_trainers()
            if self._dispatcher:
                try:
                    ray.get(self._dispatcher.reset.remote())
                except RayError:
                    self._dispatcher = None  # its generators went with it
            self._started = None
            self.start()

    def close(self) -> None:
        """See `Fleet.close`."""
        if self._started and self._started.done() and not self._is_ended:
            with suppress(Exception):
                self._hand_on_events(at_once=True)
        self.kill()

    def kill(self) -> None:
        """See `Fleet.kill`; where it is still being started, that ends it."""
        self._is_ended = True
        if self._started and (self._started.done() or self._dispatcher):
            self._end()

    def _end(self) -> None:
        with self._changing:
            if not self._is_connected:
                return
            self._is_connected = False
            with suppress(RayError):
                self._end_trainers()
                if self._dispatcher:
                    ray.kill(self._dispatcher)
                if self._bundles:
                    remove_placement_group(self._bundles)
            Connection.leave()

    def _end_trainers(self) -> None:
        for trainer in self._trainers:
            ray.kill(trainer)
        self._trainers = []


def node_address() -> str:
    """The address by which Ray knows the node of this process."""
    return str(ray.util.get_node_ip_address())


def ask(dispatcher: Any, method: str, *arguments: Any) -> Any:
    """Call the dispatcher, and raise what it raises."""
    try:
        return ray.get(getattr(dispatcher, method).remote(*arguments))
    except RayTaskError as error:
        raise error.cause from None
    except RayActorError as error:  # as good as a lost connection: the next fleet has another
        raise ConnectionError(f"the dispatcher of the generators died: {one_line(str(error))[:300]}") from error


def _put(content: Any) -> list[Any]:
    """Leave something in the object store; in a list, a reference is handed on as such."""
    return [ray.put(content)]


def _has_gpus() -> bool:
    return bool(ray.cluster_resources().get("GPU", 0))
