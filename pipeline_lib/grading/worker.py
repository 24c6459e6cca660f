"""The program of a grading worker: has a module answer requests, one at a time, for its parent process.

Run as `python worker.py FD MODULE HEADROOM ARGUMENT...`; it imports nothing of this package, so that it starts fast. The module has
`start(*arguments)`, which may raise, and `answer(request)`, which returns a reply. The parent keeps the time and kills; for the
case that the parent itself was killed, an alarm with the system's default action ends an overrunning request.
"""

import contextlib
import gc
import importlib.util
import io
import json
import logging
import os
import resource
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

# What has grown by half of what requests may add to a worker's memory is replaced before it fails.
RETIREMENT_SHARE = 0.5
ALARM_GRACE_SECONDS = 2.0
PARENT_CHECK_SECONDS = 10.0


def load(path: Path) -> ModuleType:
    """A module by its path: the import path is without this folder."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def failed(error: BaseException) -> dict[str, Any]:
    """The reply when something raised."""
    return {"reason": "error", "detail": f"{type(error).__name__}: {str(error)[:200]}"}


def start(module: ModuleType, arguments: list[str]) -> dict[str, Any]:
    """Let the module get ready, so that the first request does not pay for it."""
    try:
        module.start(*arguments)
    except Exception as error:
        return failed(error)
    return {"reason": "ready"}


def reply_to(module: ModuleType, request: dict[str, Any]) -> dict[str, Any]:
    """The module's reply; an error's, with its text, when it raised."""
    signal.setitimer(signal.ITIMER_REAL, request["timeout_seconds"] + ALARM_GRACE_SECONDS)
    try:
        reply: dict[str, Any] = module.answer(request)
        return reply
    except Exception as error:
        return failed(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class Memory:
    """This process's memory, bounded from its start on; a module may take away the right to open files."""

    def __init__(self) -> None:
        is_linux = sys.platform == "linux"
        self._statm = open("/proc/self/statm", encoding="ascii") if is_linux else io.StringIO("0 0")  # noqa: SIM115
        self._largest_resident = sys.maxsize

    def read(self) -> tuple[int, int]:
        """Address space and resident memory in bytes."""
        self._statm.seek(0)
        pages = self._statm.read().split()
        return int(pages[0]) * resource.getpagesize(), int(pages[1]) * resource.getpagesize()

    def bound(self, headroom_bytes: int) -> None:
        """Limit what may be added to what is there."""
        if sys.platform != "linux":
            return
        address_space, resident = self.read()
        resource.setrlimit(resource.RLIMIT_AS, (address_space + headroom_bytes,) * 2)
        self._largest_resident = resident + int(RETIREMENT_SHARE * headroom_bytes)

    @property
    def is_large(self) -> bool:
        """Whether it has grown so much that a new process should follow."""
        return self.read()[1] > self._largest_resident


def serve(connection: Connection, module_file: str, headroom_bytes: str, *arguments: str) -> None:
    """Answer requests until the parent closes the pipe or is gone, or until this process has grown too large."""
    parent_pid, memory = os.getppid(), Memory()
    module = load(Path(module_file))
    ready = start(module, list(arguments))
    memory.bound(int(headroom_bytes))
    # The libraries' many objects stay; looking through them again and again would take a fifth of the time.
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    connection.send_bytes(json.dumps(ready).encode())
    while True:
        while not connection.poll(PARENT_CHECK_SECONDS):
            if os.getppid() != parent_pid:
                return
        reply = reply_to(module, json.loads(connection.recv_bytes()))
        reply["retire"] = memory.is_large
        connection.send_bytes(json.dumps(reply).encode())
        if reply["retire"]:
            return


if __name__ == "__main__":
    # The terminal's Ctrl-C is for the parent, which then closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    logging.disable(logging.CRITICAL)
    # Both mean that the parent is gone.
    with contextlib.suppress(EOFError, BrokenPipeError):
        serve(Connection(int(sys.argv[1])), *sys.argv[2:])
