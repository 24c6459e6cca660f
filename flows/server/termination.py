"""Ends a command or flow in good order: terminated, it says so, in time, and it does not outlive the worker that started it."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import psutil

from pipeline_lib.processes import descendants, end_without_owner

# Set by Prefect's worker in the processes it starts.
FLOW_RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"
# Prefect's own grace between the polite signal and the deadly one.
GRACE_SECONDS = 30.0
# In order a command ends within five seconds on a machine that is not busy.
ENDING_SECONDS = 9.0
WAKE_SECONDS = 0.3

_requested = threading.Event()
_interrupted = threading.Event()
_signal: int = signal.SIGTERM
_watched = threading.Event()


def termination_requested() -> bool:
    """Whether this process is being terminated; what is raised then may be any error that the signal ran into."""
    return _requested.is_set()


def told_signal() -> int:
    return _signal


def end_when_told() -> None:
    """From here on SIGTERM and SIGINT end this process: in order, or else ENDING_SECONDS later with all that it started."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    _watch_signals(ENDING_SECONDS)


def _watch_signals(seconds: float | None) -> None:
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    signal.signal(signal.SIGURG, lambda *_: None)
    # Python tells it of every signal, whoever handles that (Prefect does) and however long the main thread is busy elsewhere.
    signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_end_in_time, args=(reading, writing, seconds), daemon=True, name="signal-watch").start()


def _end(number: int, frame: FrameType | None) -> None:
    _note(number)
    if number == signal.SIGTERM:
        raise SystemExit(128 + number)
    if not _interrupted.is_set():  # an impatient Ctrl-C must not keep a run from being noted as cancelled
        _interrupted.set()
        signal.default_int_handler(number, frame)


def _note(number: int) -> None:
    global _signal
    if not _requested.is_set():
        _signal = number
        _requested.set()


def _end_in_time(reading: socket.socket, _writing: socket.socket, seconds: float | None) -> None:
    while (number := reading.recv(1)[0]) not in (signal.SIGTERM, signal.SIGINT):
        pass
    _note(number)
    told = time.monotonic()
    while seconds is None or time.monotonic() < told + seconds:
        # The system may have handed the signal to another thread: a main thread that waits for a lock does not see it then.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGURG)
        time.sleep(WAKE_SECONDS)
    os.write(2, b"laconic: terminated before everything was put in order\n")
    for process in descendants(os.getpid()):
        with suppress(psutil.Error):
            process.kill()
    os._exit(128 + number)


@contextmanager
def noticing_termination() -> Iterator[None]:
    """Note SIGTERM, then hand it on to what handled it before; signals reach the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _end_with_parent()
    before = signal.getsignal(signal.SIGTERM)

    def note(number: int, frame: FrameType | None) -> Any:
        _note(number)
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
    _watch_signals(None)
    parent = os.getppid()
    # It may have died while this process was loading: whoever takes in orphans runs no flows.
    is_orphan = not _runs_flows(parent)
    end_without_owner(lambda: not is_orphan and os.getppid() == parent, GRACE_SECONDS)


def _runs_flows(pid: int) -> bool:
    """Whether a process looks like one that starts flows: Prefect's worker, or a Python program that serves them."""
    try:
        words = psutil.Process(pid).cmdline()
    except psutil.Error:
        return True  # not to be seen: no reason to end a run
    return any("prefect" in word or "python" in word for word in words)
