"""Worker processes that compare answers by algebra: started when needed, killed when they overrun, replaced when they die.

Symbolic comparison may run for ever, eat memory or crash, and math-verify's own time-outs are signals, which fail outside the
main thread. So each comparison runs in a process of its own under a wall-clock limit kept here.
"""

import atexit
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from time import monotonic

from pipeline_lib.grading.maths.nodes import Node

WORKER_PROGRAM = Path(__file__).with_name("worker.py")
MAX_WORKERS = 8
START_TIMEOUT_SECONDS = 120.0

# What is to be decided, and the absolute error allowed in a number.
Question = tuple[Node, float | None]


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


class MathsPool:
    """Worker processes that compare answers; started when needed, replaced when they overrun or die."""

    def __init__(self, num_workers: int) -> None:
        self.num_workers = num_workers
        self.owner_pid = os.getpid()
        self._workers: list[MathsProcess] = []
        self._lock = threading.Lock()

    def judge(
        self, questions: Sequence[Question], timeout_seconds: float, on_done: Callable[[int, Outcome], None] | None = None
    ) -> list[Outcome]:
        """The outcome of each question. Safe to call from any thread; calls take turns.

        `on_done` is called with the position and the outcome of a question as soon as it is decided, in no particular order.
        """
        with self._lock:
            try:
                return self._judge(questions, timeout_seconds, on_done)
            finally:
                # An interrupted call leaves comparisons behind whose late replies must not meet the next call's answers.
                self._drop([worker for worker in self._workers if worker.job is not None or worker.broken])

    def _judge(
        self, questions: Sequence[Question], timeout_seconds: float, on_done: Callable[[int, Outcome], None] | None
    ) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        waiting = deque(range(len(questions)))
        while len(outcomes) < len(questions):
            self._assign(questions, waiting, timeout_seconds)
            nearest = min((worker.deadline for worker in self._workers if worker.deadline is not None), default=monotonic())
            readable = wait([worker.connection for worker in self._workers], timeout=max(0.0, nearest - monotonic()))
            for worker in list(self._workers):
                job = worker.job
                if worker.connection in readable:
                    outcome = worker.receive()
                    if worker.broken:
                        self._drop([worker])
                elif worker.deadline is not None and monotonic() > worker.deadline:
                    self._drop([worker])
                    outcome = worker.overrun()
                else:
                    continue
                if job is not None:
                    outcomes[job] = outcome
                    if on_done is not None:
                        on_done(job, outcome)
        return [outcomes[index] for index in range(len(questions))]

    def _assign(self, questions: Sequence[Question], waiting: deque[int], timeout_seconds: float) -> None:
        """Hand waiting comparisons to idle workers and start as many workers as there is work for."""
        for worker in list(self._workers):
            if worker.idle and waiting:
                job = waiting.popleft()
                if not worker.send(job, *questions[job], timeout_seconds):
                    # It died while idle: not this answer's doing.
                    waiting.appendleft(job)
                    self._drop([worker])
        num_starting = sum(worker.starting for worker in self._workers)
        for _ in range(min(self.num_workers - len(self._workers), len(waiting) - num_starting)):
            self._workers.append(MathsProcess(START_TIMEOUT_SECONDS))

    def _drop(self, workers: Sequence[MathsProcess]) -> None:
        for worker in workers:
            self._workers.remove(worker)
            worker.kill()

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            self._drop(list(self._workers))


_pool: MathsPool | None = None
_pool_lock = threading.Lock()


def maths_pool() -> MathsPool:
    """The pool of this process, made on first use; a forked child makes its own."""
    global _pool
    with _pool_lock:
        if _pool is None or _pool.owner_pid != os.getpid():
            _pool = MathsPool(min(MAX_WORKERS, os.cpu_count() or 1))
            atexit.register(_pool.close)
        return _pool
