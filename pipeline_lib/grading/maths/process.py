"""The parent's side of one math-verify worker process: start it, send it a comparison, read its verdict, kill it."""

import json
import multiprocessing
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from pipeline_lib.grading.maths.compare import Node

WORKER_PROGRAM = Path(__file__).with_name("worker.py")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one comparison: correct, wrong, no_answer, timeout or error, after so many seconds of wall time."""

    reason: str
    seconds: float

    @property
    def correct(self) -> bool:
        """Whether the answer is right."""
        return self.reason == "correct"


class MathsProcess:
    """One worker. It is starting, then idle, then busy with `job` until `deadline` (monotonic seconds), then idle again."""

    def __init__(self, start_timeout_seconds: float) -> None:
        self.connection, child_connection = multiprocessing.Pipe()
        child_fd = child_connection.fileno()
        # A plain program instead of multiprocessing's spawn: that would import the parent's main module, often vLLM and torch.
        # -P keeps this folder out of the import path.
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER_PROGRAM), str(child_fd)],
            pass_fds=[child_fd],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        child_connection.close()
        self.job: int | None = None
        self.starting = True
        self.broken = False
        self.job_start = monotonic()
        self.start_timeout_seconds = start_timeout_seconds
        self.deadline: float | None = monotonic() + start_timeout_seconds

    @property
    def idle(self) -> bool:
        """Whether it waits for a comparison."""
        return not self.starting and not self.broken and self.job is None

    def send(self, job: int, node: Node, tolerance: float | None, timeout_seconds: float) -> bool:
        """Hand over a comparison; False when the process is gone."""
        request = {"node": node, "tolerance": tolerance, "timeout_seconds": max(0.0, timeout_seconds)}
        try:
            self.connection.send_bytes(json.dumps(request).encode())
        except OSError:
            self.broken = True
            return False
        self.job, self.job_start = job, monotonic()
        self.deadline = self.job_start + timeout_seconds
        return True

    def receive(self) -> Outcome:
        """Read the outcome of the comparison in hand, or "ready"; a process that died in the middle gives "error".

        A process that has grown too large says so with its last outcome and is `broken` from then on. Raises RuntimeError when
        it failed to start.
        """
        was_starting, self.starting = self.starting, False
        self.job = self.deadline = None
        try:
            reply = json.loads(self.connection.recv_bytes())
        except (OSError, EOFError):
            reply = {"reason": "error", "detail": "the process died", "retire": True}
        self.broken = bool(reply.get("retire"))
        if was_starting and reply["reason"] != "ready":
            self.broken = True
            raise RuntimeError(f"the grading worker cannot start: {reply['detail']}")
        return Outcome(str(reply["reason"]), monotonic() - self.job_start)

    def overrun(self) -> Outcome:
        """The outcome when the deadline has passed. Raises RuntimeError when it was still starting."""
        if self.starting:
            raise RuntimeError(f"the grading worker did not start within {self.start_timeout_seconds:g} s")
        return Outcome("timeout", monotonic() - self.job_start)

    def kill(self) -> None:
        """End the process at once and release its pipe."""
        self.process.kill()
        self.process.wait()
        self.connection.close()
