"""Processes of this machine: which of them belong together and end together, and which one works on what."""

import ctypes
import fcntl
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from pipeline_lib.files.home import below

KILL_SECONDS = 5.0  # to be gone after the deadly signal
OWNER_POLL_SECONDS = 1.0
RESERVED_BYTES = 2 << 20
GARBAGE_OBJECTS = 100_000  # new ones between two looks, where Python has 700
PR_SET_PDEATHSIG = 1
_THRESHOLDS = gc.get_threshold()


def collect_garbage_rarely() -> None:
    """For a program that imports much: looking for garbage among what has come to stay is an eighth of its start."""
    gc.set_threshold(GARBAGE_OBJECTS)


def keep_what_has_come() -> None:
    """After such a start: never look again at what is there, but as often as ever at what comes (cycles may hold tensors)."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def python_path() -> str:
    """PYTHONPATH of programs of this package, which find this copy of it first, wherever they are started."""
    paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(path for path in paths if path)


def thread_environment(num_threads: int) -> dict[str, str]:
    """What a process that computes on so many threads has in its environment before torch is imported.

    Threads that wait for each other spin for GOMP_SPINCOUNT rounds before they sleep. By default that is milliseconds: beside other
    work, the core that the awaited thread needs (measured: docs/performance.md).
    """
    spin = os.environ.get("GOMP_SPINCOUNT", "1000")
    return {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": str(num_threads), "GOMP_SPINCOUNT": spin}


def descendants(pid: int) -> list[psutil.Process]:
    """All processes that a process has started, and theirs; empty when it is gone."""
    try:
        found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
        return found
    except psutil.NoSuchProcess:
        return []


def end_process_tree(pid: int) -> None:
    """Kill a process, its descendants and its process group."""
    _kill(descendants(pid))
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def end_in_order(process: "subprocess.Popen[bytes]", grace_seconds: float) -> None:
    """Ask the leader of a process group to end, then end it and every process it started."""
    started = descendants(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)
    end_process_tree(process.pid)
    _kill(started)
    psutil.wait_procs(started, timeout=KILL_SECONDS)
    process.wait()


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def end_with_this_process() -> Callable[[], None] | None:
    """What a child runs between fork and exec, so that it does not outlive this process, even when that is killed."""
    if sys.platform != "linux":
        return None
    parent = os.getpid()

    def ask_for_signal() -> None:
        signal_when_parent_dies(signal.SIGTERM)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return ask_for_signal


def signal_when_parent_dies(number: signal.Signals) -> None:
    """Have the system send this process a signal when its parent dies, where the system can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def end_without_owner(has_owner: Callable[[], bool], grace_seconds: float = 0.0) -> None:
    """Look every second, in a thread, whether this process still has its owner; else terminate it, and kill it after the grace."""

    def watch() -> None:
        while has_owner():
            time.sleep(OWNER_POLL_SECONDS)
        if grace_seconds:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(grace_seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="owner-watch").start()


def lock_run(home: Path, run_id: str) -> IO[str]:
    """Hold a run for this process (released when the file is closed or the process ends, however it ends).

    Raises ValueError when another process holds it.
    """
    path = below(home, "workers", f"{run_id}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = open(path, "a+", encoding="utf-8")  # noqa: SIM115  (held open as long as the run is worked on)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.seek(0)
        holder = handle.read().strip()
        handle.close()
        raise ValueError(f"run {run_id} is being worked on by process {holder}: wait for it, or end it") from None
    handle.truncate(0)
    handle.write(str(os.getpid()))
    handle.flush()
    return handle


def reserve_room(lock: IO[str]) -> None:
    """Take up room in a lock's file: how a run ended must fit on a disk that it has filled."""
    lock.write(" " * RESERVED_BYTES)
    lock.flush()


def give_room(lock: IO[str]) -> None:
    """Release what `reserve_room` took."""
    lock.truncate(len(str(os.getpid())))
