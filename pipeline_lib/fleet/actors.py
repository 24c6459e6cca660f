"""What lives in an actor: a rank of the trainer, which runs jobs as a worker does with all generators for its engine; and a generator.

`address` gives that of the node that the actor is on.
"""

import logging
import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_lib.config import RunConfig, stored_config
from pipeline_lib.fleet.dispatcher import FleetError
from pipeline_lib.fleet.engine_host import EngineHost
from pipeline_lib.jobs import read_json, write_failure
from pipeline_lib.messages.faults import explain, will_repeat
from pipeline_lib.worker.program import Worker, hidden

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

            return make_generator(base_folder, config.generation, config.max_model_tokens, config.model_revision)

        self._address = address()
        super().__init__(make_engine, folder)

    def where(self) -> str:
        """The node."""
        return self._address


class TrainerActor:
    """A rank; they meet at the address of the first, on a port that is free there."""

    def __init__(self, rank: int, world_size: int, folder: Path, address: Callable[[], str]) -> None:
        self._rank, self._world_size, self._folder, self._address = rank, world_size, folder, address()

    def meeting_point(self) -> tuple[str, int]:
        """Where the ranks can meet."""
        with socket.socket() as probe:
            probe.bind((self._address, 0))
            return self._address, int(probe.getsockname()[1])

    def join(self, meeting_point: tuple[str, int], call: Callable[..., Any], put: Callable[[Any], Any]) -> str:
        """Meet the other ranks, and return the address of this node; `call` and `put` as for a `RemoteGenerator`."""
        write_log(self._folder, f"trainer-{self._rank}")
        address, port = meeting_point
        # Each rank sees its own GPU alone, as the first.
        os.environ.update(RANK=str(self._rank), LOCAL_RANK="0", WORLD_SIZE=str(self._world_size))
        os.environ.update(MASTER_ADDR=address, MASTER_PORT=str(port))
        settings = read_json(self._folder / "worker.json")
        config = stored_config(settings["config"], RunConfig)
        with hidden("mlflow", "redis", "scipy", "sklearn"):
            from pipeline_lib.fleet.remote_generator import RemoteGenerator  # torch, which only the actor needs

            self._worker = Worker(
                config, settings["base_folder"], self._folder, lambda *_: RemoteGenerator(call, put, self._address)
            )
            import pipeline_lib.training.loop  # noqa: F401  (slow to import: done while no job waits)
        return self._address

    def run(self, number: int) -> None:
        """Run a job of the folder; what it fails by is noted there."""
        try:
            self._worker.run(number, self._folder / f"{number:04d}.json")
        except Exception as error:
            write_failure(self._folder, self._rank, explain(error, self._folder), traceback.format_exc(), will_repeat(error))
            raise
