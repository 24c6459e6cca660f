"""The program of a grading worker: answers questions about equality with sympy and math-verify, one at a time, for its parent process.

Run as `python worker.py FD`; it imports nothing of this package, so that it starts fast. The parent keeps the time and
kills; for the case that the parent itself was killed, an alarm with the system's default action ends an overrunning comparison.
"""

import contextlib
import gc
import importlib.util
import json
import logging
import os
import resource
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

# Address space and resident memory that comparisons may add to what the libraries take.
MEMORY_HEADROOM_BYTES = 192 << 20
RETIREMENT_GROWTH_BYTES = 96 << 20
ALARM_GRACE_SECONDS = 2.0
PARENT_CHECK_SECONDS = 10.0

# By its path: the import path is without this folder, and this package is slow to import.
_VALUES = importlib.util.spec_from_file_location("equal_values", Path(__file__).with_name("equal_values.py"))
assert _VALUES is not None and _VALUES.loader is not None
values = importlib.util.module_from_spec(_VALUES)
_VALUES.loader.exec_module(values)


def freeze(node: Any) -> Any:
    """A tree as it was before it travelled: tuples in place of lists."""
    return tuple(freeze(part) for part in node) if isinstance(node, list) else node


def decide(node: Any, tolerance: float | None) -> bool:
    """The answer to a node (see nodes.py)."""
    if isinstance(node, bool):
        return node
    kind = node[0]
    if kind == "equal":
        return bool(values.is_equal(freeze(node[1]), freeze(node[2]), tolerance))
    if kind == "near":
        return bool(values.is_near(freeze(node[1]), node[2], node[3]))
    if kind == "relation":
        return bool(values.is_same_relation(node[1], freeze(node[2]), freeze(node[3])))
    if kind == "match":
        return can_match(node[1], tolerance)
    errors = []
    for part in sorted(node[1], key=lambda part: len(str(part))):
        try:
            verdict = decide(part, tolerance)
        except Exception as error:
            errors.append(error)
            continue
        if verdict == (kind == "any"):
            return verdict
    if errors:
        raise errors[0]
    return bool(kind == "all")


def can_match(rows: list[list[Any]], tolerance: float | None) -> bool:
    """Whether every row can have a column of its own whose node holds (Kuhn's algorithm, nodes decided when needed)."""
    known: dict[tuple[int, int], bool] = {}
    owner: dict[int, int] = {}

    def holds(row: int, column: int) -> bool:
        if (row, column) not in known:
            known[row, column] = decide(rows[row][column], tolerance)
        return known[row, column]

    def place(row: int, seen: set[int]) -> bool:
        for column in range(len(rows)):
            if column not in seen and holds(row, column):
                seen.add(column)
                if column not in owner or place(owner[column], seen):
                    owner[column] = row
                    return True
        return False

    return all(place(row, set()) for row in range(len(rows)))


def _failed(error: Exception) -> dict[str, Any]:
    return {"reason": "error", "detail": f"{type(error).__name__}: {str(error)[:200]}"}


def compare(request: dict[str, Any]) -> dict[str, Any]:
    """The reply to one request: reason correct, wrong or error, with the error's text."""
    signal.setitimer(signal.ITIMER_REAL, request["timeout_seconds"] + ALARM_GRACE_SECONDS)
    try:
        equal = decide(request["node"], request["tolerance"])
    except Exception as error:
        return _failed(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return {"reason": "correct" if equal else "wrong"}


def start() -> dict[str, Any]:
    """Import and warm up sympy, so that the first comparison does not pay for it."""
    try:
        root = ("root", ("n", "2"), ("n", "2"))
        assert values.is_equal(("/", root, ("n", "2")), ("/", ("n", "1"), root), None)
        assert not values.is_equal(("^", ("s", "x"), ("n", "2")), ("s", "x"), None)
    except Exception as error:
        return _failed(error)
    return {"reason": "ready"}


def memory_bytes() -> tuple[int, int]:
    """Address space and resident memory of this process."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        pages = statm.read().split()
    return int(pages[0]) * resource.getpagesize(), int(pages[1]) * resource.getpagesize()


def serve(connection: Connection) -> None:
    """Answer requests until the parent closes the pipe or is gone, or until this process has grown too large."""
    parent_pid = os.getppid()
    ready = start()
    largest_resident = sys.maxsize
    if sys.platform == "linux":
        address_space, resident = memory_bytes()
        limit = address_space + MEMORY_HEADROOM_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        largest_resident = resident + RETIREMENT_GROWTH_BYTES
    # The libraries' many objects stay; looking through them again and again would take a fifth of the time.
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    connection.send_bytes(json.dumps(ready).encode())
    while True:
        while not connection.poll(PARENT_CHECK_SECONDS):
            if os.getppid() != parent_pid:
                return
        reply = compare(json.loads(connection.recv_bytes()))
        reply["retire"] = sys.platform == "linux" and memory_bytes()[1] > largest_resident
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
        serve(Connection(int(sys.argv[1])))
