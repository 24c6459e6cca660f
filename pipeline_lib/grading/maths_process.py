"""The parent's side of one math-verify worker process: start it, send it a comparison, read its verdict, kill it."""

import json
import multiprocessing
import subprocess
import sys
from pathlib import Path
from time import monotonic

WORKER_PROGRAM = Path(__file__).with_name("maths_worker.py")


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
        self.start_timeout_seconds = start_timeout_seconds
        self.deadline: float | None = monotonic() + start_timeout_seconds

    @property
    def idle(self) -> bool:
        """Whether it waits for a comparison."""
        return not self.starting and not self.broken and self.job is None

    def send(self, job: int, answer: str, gold: str, timeout_seconds: float) -> bool:
        """Hand over a comparison; False when the process is gone."""
        request = {"answer": answer, "gold": gold, "timeout_seconds": timeout_seconds}
        try:
            self.connection.send_bytes(json.dumps(request).encode())
        except OSError:
            self.broken = True
            return False
        self.job, self.deadline = job, monotonic() + timeout_seconds
        return True

    def receive(self) -> str:
        """Read the reason for the comparison in hand, or "ready"; a process that died in the middle gives "error".

        Raises RuntimeError when it failed to start.
        """
        was_starting, self.starting = self.starting, False
        self.job = self.deadline = None
        try:
            reply = json.loads(self.connection.recv_bytes())
        except (OSError, EOFError):
            self.broken = True
            reply = {"reason": "error", "detail": "the process died"}
        if was_starting and reply["reason"] != "ready":
            self.broken = True
            raise RuntimeError(f"the grading worker cannot start: {reply['detail']}")
        return str(reply["reason"])

    def overrun(self) -> str:
        """The reason when the deadline has passed. Raises RuntimeError when it was still starting."""
        if self.starting:
            raise RuntimeError(f"the grading worker did not start within {self.start_timeout_seconds:g} s")
        return "timeout"

    def kill(self) -> None:
        """End the process at once and release its pipe."""
        self.process.kill()
        self.process.wait()
        self.connection.close()
