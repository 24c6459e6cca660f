"""The program of a grading worker: compares answers with math-verify, one at a time, for the process that started it.

Run as `python maths_worker.py FD`; it imports nothing of this package, so that it starts fast. The parent keeps the time and
kills; for the case that the parent itself was killed, an alarm with the system's default action ends an overrunning comparison.
"""

import contextlib
import functools
import json
import logging
import os
import resource
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

MEMORY_LIMIT_BYTES = 4 << 30
ALARM_GRACE_SECONDS = 2.0
PARENT_CHECK_SECONDS = 10.0


@functools.lru_cache(maxsize=1024)
def parse_boxed(answer: str) -> list[Any]:
    """The expressions math-verify reads from an answer, time-outs off."""
    from math_verify import parse

    return list(parse(f"\\boxed{{{answer}}}", parsing_timeout=None))


def is_equal(answer: str, gold: str) -> bool:
    """Whether math-verify holds the answer for equal to the gold one. Raises what the comparison raises."""
    from math_verify import verify

    golds, answers = parse_boxed(gold), parse_boxed(answer)
    if not golds:
        raise ValueError("the gold answer cannot be parsed")
    try:
        return bool(verify(golds, answers, timeout_seconds=None, raise_on_error=True))
    except Exception:
        # One of several readings failed; another may still agree.
        if verify(golds, answers, timeout_seconds=None, raise_on_error=False):
            return True
        raise


def compare(request: dict[str, Any]) -> dict[str, str]:
    """The reply to one request: reason correct, wrong or error, with the error's text."""
    signal.setitimer(signal.ITIMER_REAL, request["timeout_seconds"] + ALARM_GRACE_SECONDS)
    try:
        equal = is_equal(request["answer"], request["gold"])
    except Exception as error:
        return {"reason": "error", "detail": f"{type(error).__name__}: {str(error)[:200]}"}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return {"reason": "correct" if equal else "wrong"}


def start() -> dict[str, str]:
    """Import and warm up math-verify, so that the first comparison does not pay for it."""
    try:
        assert is_equal("\\frac{1}{2}", "0.5")
    except Exception as error:
        return {"reason": "error", "detail": f"{type(error).__name__}: {str(error)[:200]}"}
    return {"reason": "ready"}


def serve(connection: Connection) -> None:
    """Answer requests until the parent closes the pipe or is gone."""
    parent_pid = os.getppid()
    connection.send_bytes(json.dumps(start()).encode())
    while True:
        while not connection.poll(PARENT_CHECK_SECONDS):
            if os.getppid() != parent_pid:
                return
        connection.send_bytes(json.dumps(compare(json.loads(connection.recv_bytes()))).encode())


if __name__ == "__main__":
    # The terminal's Ctrl-C is for the parent, which then closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    logging.disable(logging.CRITICAL)
    # Both mean that the parent is gone.
    with contextlib.suppress(EOFError, BrokenPipeError):
        serve(Connection(int(sys.argv[1])))
