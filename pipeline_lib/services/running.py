"""What `laconic up` is running over a home: a small file that other commands read to reach the servers, or to end them."""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from pipeline_lib.jobs import read_json, write_json
from pipeline_lib.processes import end_process_tree

# The longest that ending everything in order takes, and some.
DOWN_SECONDS = 75.0


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process, told from a later one with the same number by its start (seconds since the epoch)."""

    pid: int
    started: float

    @staticmethod
    def of(pid: int) -> "ProcessId":
        """The process that has this number now."""
        return ProcessId(pid, psutil.Process(pid).create_time())

    @property
    def is_alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return bool(abs(process.create_time() - self.started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False


@dataclass(frozen=True, slots=True)
class RunningServices:
    """The process that watches over the services of a home, these, their addresses, and the file that holds their password."""

    owner: ProcessId
    services: tuple[ProcessId, ...]
    prefect_address: str
    mlflow_address: str
    is_ready: bool
    password_file: str | None = None


def services_file(home: Path) -> Path:
    return home / "services" / "running.json"


def note_services(
    home: Path,
    pids: Sequence[int],
    prefect_address: str,
    mlflow_address: str,
    is_ready: bool,
    password_file: Path | None = None,
) -> None:
    """Note what this process is running, for other commands."""
    services = tuple(ProcessId.of(pid) for pid in pids)
    path = services_file(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = str(password_file.resolve()) if password_file else None
    running = RunningServices(ProcessId.of(os.getpid()), services, prefect_address, mlflow_address, is_ready, file)
    write_json(path, asdict(running))


def forget_services(home: Path) -> None:
    services_file(home).unlink(missing_ok=True)


def running_services(home: Path) -> RunningServices | None:
    """What runs over a home; None when nothing of it does."""
    path = services_file(home)
    try:
        noted: dict[str, Any] = read_json(path)
        owner, *services = (ProcessId(**each) for each in (noted.pop("owner"), *noted.pop("services")))
        running = RunningServices(owner, tuple(services), **noted)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # none, or one that a disk or a hand has damaged
        return None
    alive = running.owner.is_alive or any(service.is_alive for service in running.services)
    return running if alive else None


def end_services(home: Path) -> bool:
    """End what runs over a home, in order if its owner is there to do it; False when nothing was running."""
    running = running_services(home)
    if running is None:
        forget_services(home)
        return False
    if running.owner.is_alive:
        os.kill(running.owner.pid, signal.SIGTERM)
        deadline = time.monotonic() + DOWN_SECONDS
        while running.owner.is_alive and time.monotonic() < deadline:
            time.sleep(0.2)
    for process in (running.owner, *running.services):
        if process.is_alive:
            with suppress(ProcessLookupError):
                end_process_tree(process.pid)
    forget_services(home)
    return True
