"""What lives in an actor: a rank of the trainer, which runs jobs as a worker does with all generators for its engine; and a generator.

`address` gives that of the node that the actor is on.
"""

import logging
import os
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_lib.config import RunConfig, stored_config
from pipeline_lib.fleet.dispatcher import FleetError
from pipeline_lib.fleet.engine_host import EngineHost
from pipeline_lib.jobs import read_json, write_failure
from pipeline_lib.messages.faults import explain, will_repeat
from pipeline_lib.worker.devices import VISIBLE
from pipeline_lib.worker.program import UNUSED, Worker, hidden, own_engine

if TYPE_CHECKING:
    from pipeline_lib.generation.protocol import Generator


def write_log(folder: Path, name: str) -> None:
    """Let this process write what it says into the run's folder.

    Raises FleetError where its node does not see that.
    """
    if not (folder / "worker.json").exists():
        raise FleetError(
            f"{name} on {socket.gethostname()} does not see {folder}: LACONIC_HOME must be a folder that all nodes share"
        )
    log = os.open(folder / f"log-{name}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(log, stream.fileno())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr, force=True)


class GeneratorActor(EngineHost):
    """An engine that has all GPUs of its actor, however many."""

    def __init__(self, config: RunConfig, base_folder: str, folder: Path, name: str, address: Callable[[], str]) -> None:
        def make_engine() -> "Generator":
            write_log(folder, name)
            from pipeline_lib.generation.engines import make_generator

            return make_generator(base_folder, config.generation, config.max_model_tokens, config.model_revision, is_apart=True)

        self._address = address()
        super().__init__(make_engine, folder)

    def where(self) -> str:
        """The node."""
        return self._address


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rank is: the address of its node, a port that is free there, and its GPU (None where there is none)."""

    address: str
    port: int
    gpu: str | None


def launcher_environment(rank: int, places: list[Place]) -> dict[str, str]:
    """What a launcher would tell a rank: who it is, and where all meet. As under one, ranks see all GPUs of their node's ranks."""
    on_node = [number for number, place in enumerate(places) if place.address == places[rank].address]
    gpus = [gpu for number in on_node if (gpu := places[number].gpu)]
    meeting = {"MASTER_ADDR": places[0].address, "MASTER_PORT": str(places[0].port)}
    own = {"RANK": str(rank), "LOCAL_RANK": str(on_node.index(rank)), "WORLD_SIZE": str(len(places))}
    return meeting | own | ({VISIBLE: ",".join(gpus)} if gpus else {})


class TrainerActor:
    """A rank; they meet at the address of the first, on a port that is free there."""

    def __init__(self, rank: int, folder: Path, address: Callable[[], str]) -> None:
        self._rank, self._folder, self._address = rank, folder, address()

    def place(self) -> Place:
        """Where this rank is, and where the ranks could meet."""
        with socket.socket() as probe:
            probe.bind((self._address, 0))
            return Place(self._address, int(probe.getsockname()[1]), os.environ.get(VISIBLE))

    def join(self, places: list[Place], engines: "tuple[Callable[..., Any], Callable[[Any], Any]] | None") -> None:
        """Meet the other ranks at the first one's place; `engines`: how a rank asks for them, None: each has its own."""
        write_log(self._folder, f"trainer-{self._rank}")
        os.environ.update(launcher_environment(self._rank, places))
        settings = read_json(self._folder / "worker.json")
        config = stored_config(settings["config"], RunConfig)
        with hidden(*UNUSED):
            from pipeline_lib.fleet.remote_generator import remote_generator  # torch, which only the actor needs

            node = self._address
            make_generator = (lambda config, *_: remote_generator(config, *engines, node)) if engines else own_engine
            self._worker = Worker(config, settings["base_folder"], self._folder, make_generator)
            import pipeline_lib.training.loop  # noqa: F401  (slow to import: done while no job waits)

    def run(self, number: int) -> None:
        """Run a job of the folder; what it fails by is noted there."""
        try:
            self._worker.run(number, self._folder / f"{number:04d}.json")
        except Exception as error:
            write_failure(self._folder, self._rank, explain(error, self._folder), traceback.format_exc(), will_repeat(error))
            raise
