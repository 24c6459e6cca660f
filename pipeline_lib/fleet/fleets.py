"""What a stage asks of the processes that a run's engines and trainer live in, and the choice between those there are."""

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from pipeline_lib.config import RunConfig
from pipeline_lib.jobs import GenerateJob, TrainJob
from pipeline_lib.records import EndpointUsage, FleetEvent
from pipeline_lib.worker.process import WorkerProcess

ANSWER_SECONDS = 10.0


class Fleet(Protocol):
    """Engines and trainer of one run; jobs are data, and what they make is files that this process sees, too."""

    def start(self) -> None:
        """Start what is not running. Raises WorkerFailed when it was ended."""
        ...

    def run(self, job: GenerateJob | TrainJob, on_progress: Callable[[dict[str, Any]], None] | None = None) -> Any:
        """Run a job to its end and return its result; `on_progress` gets each new progress. Raises WorkerFailed."""
        ...

    def restart(self) -> None:
        """End what is left of a job that has failed, so that the next one can run. Raises WorkerFailed when it was ended."""
        ...

    def close(self) -> None:
        """Let it end in order, then end whatever is left."""
        ...

    def kill(self) -> None:
        """End every process of it at once."""
        ...

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        ...


def make_fleet(
    config: RunConfig,
    base_folder: str,
    home: Path,
    devices: Sequence[int] = (),
    on_events: Callable[[list[FleetEvent]], None] = lambda events: None,
    on_usage: Callable[[EndpointUsage], None] = lambda usage: None,
) -> Fleet:
    """The fleet that `fleet.kind` names, or none of ours for a model that is served elsewhere.

    `devices` as for a worker, `on_events` hears what happens to actors, `on_usage` what is asked of an endpoint.

    Raises ValueError where Ray is wanted and not installed, or nothing is at the address of its cluster.
    """
    if config.is_served:
        from pipeline_lib.fleet.served import ServedFleet

        return ServedFleet(config, on_usage)
    if config.fleet.kind == "embedded":
        return WorkerProcess(config, base_folder, home, will_train=True, devices=devices)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # of ranks that lose another: the first one's is told
    if not config.fleet.address:  # read when Ray is imported; without it a cluster is reached from this machine alone
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        from pipeline_lib.fleet.ray_fleet import RayFleet
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ValueError("fleet.kind = 'ray' needs Ray: pip install 'laconic[ray]'") from None
    require_answer(config.fleet.address)
    return RayFleet(config, base_folder, home, on_events)


def require_answer(address: str) -> None:
    """Raise ValueError where nothing listens at HOST:PORT: Ray would ask again and again for minutes. Other addresses are Ray's to read."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"no cluster answers at fleet.address = {address!r} ({error}): 'ray start --head' starts one"
        ) from None
