"""Ends a flow in good order: told to end it says so, and it does not outlive the Prefect worker that started it."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import psutil

# Set by Prefect's worker in the processes it starts.
FLOW_RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"
POLL_SECONDS = 1.0
# Prefect's own grace between the polite signal and the deadly one.
GRACE_SECONDS = 30.0

_requested = threading.Event()
_watched = threading.Event()


def termination_requested() -> bool:
    """Whether this process was told to end; what is raised then may be any error that the signal ran into."""
    return _requested.is_set()


def note_interrupt(number: int, frame: FrameType | None) -> None:
    """Handler of SIGINT: what is raised later may be any error that it ran into, such as that of a server it reached, too."""
    _requested.set()
    signal.default_int_handler(number, frame)


@contextmanager
def noticing_termination() -> Iterator[None]:
    """Note SIGTERM, then hand it on to what handled it before; signals reach the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _end_with_parent()
    before = signal.getsignal(signal.SIGTERM)

    def note(number: int, frame: FrameType | None) -> Any:
        _requested.set()
        if callable(before):
            return before(number, frame)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end_with_parent() -> None:
    """A killed Prefect worker cannot end the flows it started: they notice that their parent is another one."""
    if FLOW_RUN_VARIABLE not in os.environ or _watched.is_set():
        return
    _watched.set()
    parent = os.getppid()
    # It may have died while this process was loading: whoever takes in orphans runs no flows.
    is_orphan = not _runs_flows(parent)

    def watch() -> None:
        while not is_orphan and os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


def _runs_flows(pid: int) -> bool:
    """Whether a process looks like one that starts flows: Prefect's worker, or a Python program that serves them."""
    try:
        words = psutil.Process(pid).cmdline()
    except psutil.Error:
        return True  # not to be seen: no reason to end a run
    return any("prefect" in word or "python" in word for word in words)
