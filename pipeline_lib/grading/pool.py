"""Worker processes that judge answers: started when needed, killed when they overrun, replaced when they die.

Symbolic comparison and functions of a user's own may run for ever, eat memory or crash, and math-verify's own time-outs are signals,
which fail outside the main thread. So each request is answered in a process of its own under a wall-clock limit kept here.
"""

import atexit
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from time import monotonic
from typing import Any

WORKER_PROGRAM = Path(__file__).with_name("worker.py")
MAX_WORKERS = 8
START_TIMEOUT_SECONDS = 120.0

MAX_REPLY_BYTES = 64 << 20

# What a worker is asked, as JSON holds it.
Request = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Program:
    """What the workers of a pool do (see `worker.py`): a module by its path, its arguments, and the memory its answers may take.

    `environment` replaces this process's; two programs that differ in `version` alone have workers of their own.
    """

    module: Path
    arguments: tuple[str, ...] = ()
    headroom_bytes: int = 192 << 20
    environment: tuple[tuple[str, str], ...] | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request: correct, wrong, no_answer, timeout or error, after so many seconds of wall time."""

    reason: str
    seconds: float
    detail: str = ""
    value: Any = None

    @property
    def correct(self) -> bool:
        """Whether the answer is right."""
        return self.reason == "correct"


class WorkerProcess:
    """One worker of a program. It is starting, then idle, then busy with `job` until `deadline` (monotonic seconds), then idle again."""

    def __init__(self, program: Program, start_timeout_seconds: float) -> None:
        self.connection, child_connection = multiprocessing.Pipe()
        child_fd = child_connection.fileno()
        # A plain program instead of multiprocessing's spawn: that would import the parent's main module, often vLLM and torch.
        # -P keeps this folder out of the import path.
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-P", str(WORKER_PROGRAM), str(child_fd)),
                *(str(program.module), str(program.headroom_bytes), *program.arguments),
            ],
            env=None if program.environment is None else dict(program.environment),
            pass_fds=[child_fd],
            process_group=0,  # what a function has started ends with it
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
        """Whether it waits for a request."""
        return not self.starting and not self.broken and self.job is None

    def send(self, job: int, request: Request, timeout_seconds: float) -> bool:
        """Hand over a request; False when the process is gone."""
        timed = {**request, "timeout_seconds": max(0.0, timeout_seconds)}
        try:
            self.connection.send_bytes(json.dumps(timed).encode())
        except OSError:
            self.broken = True
            return False
        self.job, self.job_start = job, monotonic()
        self.deadline = self.job_start + timeout_seconds
        return True

    def receive(self) -> Outcome:
        """Read the outcome of the request in hand, or "ready"; a process that died in the middle gives "error".

        A process that has grown too large says so with its last outcome and is `broken` from then on. Raises RuntimeError when
        it failed to start.
        """
        was_starting, self.starting = self.starting, False
        self.job = self.deadline = None
        try:
            reply = json.loads(self.connection.recv_bytes(MAX_REPLY_BYTES))
            reason = str(reply["reason"])
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            reason = "error"
            reply = {"reason": "error", "detail": "the process died", "retire": True}
        self.broken = bool(reply.get("retire"))
        if was_starting and reason != "ready":
            self.broken = True
            raise RuntimeError(f"the grading worker cannot start: {reply['detail']}")
        seconds = monotonic() - self.job_start
        return Outcome(reason, seconds, str(reply.get("detail") or ""), reply.get("value"))

    def overrun(self) -> Outcome:
        """The outcome when the deadline has passed. Raises RuntimeError when it was still starting."""
        if self.starting:
            raise RuntimeError(f"the grading worker did not start within {self.start_timeout_seconds:g} s")
        return Outcome("timeout", monotonic() - self.job_start)

    def kill(self) -> None:
        """End the process, and what it has started, at once and release its pipe."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.connection.close()


class WorkerPool:
    """Worker processes of one program; started when needed, replaced when they overrun or die."""

    def __init__(self, program: Program, num_workers: int) -> None:
        self.program, self.num_workers = program, num_workers
        self.owner_pid = os.getpid()
        self._workers: list[WorkerProcess] = []
        self._lock = threading.Lock()

    def judge(
        self, requests: Sequence[Request], timeout_seconds: float, on_done: Callable[[int, Outcome], None] | None = None
    ) -> list[Outcome]:
        """The outcome of each request. Safe to call from any thread; calls take turns.

        `on_done` is called with the position and the outcome of a request as soon as it is answered, in no particular order.
        """
        with self._lock:
            try:
                return self._judge(requests, timeout_seconds, on_done)
            finally:
                # An interrupted call leaves requests behind whose late replies must not meet the next call's answers.
                self._drop([worker for worker in self._workers if worker.job is not None or worker.broken])

    def _judge(
        self, requests: Sequence[Request], timeout_seconds: float, on_done: Callable[[int, Outcome], None] | None
    ) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        waiting = deque(range(len(requests)))
        while len(outcomes) < len(requests):
            self._assign(requests, waiting, timeout_seconds)
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
        return [outcomes[index] for index in range(len(requests))]

    def _assign(self, requests: Sequence[Request], waiting: deque[int], timeout_seconds: float) -> None:
        """Hand waiting requests to idle workers and start as many workers as there is work for."""
        for worker in list(self._workers):
            if worker.idle and waiting:
                job = waiting.popleft()
                if not worker.send(job, requests[job], timeout_seconds):
                    # It died while idle: not this answer's doing.
                    waiting.appendleft(job)
                    self._drop([worker])
        num_starting = sum(worker.starting for worker in self._workers)
        for _ in range(min(self.num_workers - len(self._workers), len(waiting) - num_starting)):
            self._workers.append(WorkerProcess(self.program, START_TIMEOUT_SECONDS))

    def _drop(self, workers: Sequence[WorkerProcess]) -> None:
        for worker in workers:
            self._workers.remove(worker)
            worker.kill()

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            self._drop(list(self._workers))


_pools: dict[Program, WorkerPool] = {}
_pools_lock = threading.Lock()


def worker_pool(program: Program) -> WorkerPool:
    """The program's pool in this process, made on first use; a forked child makes its own."""
    with _pools_lock:
        pool = _pools.get(program)
        if pool is None or pool.owner_pid != os.getpid():
            pool = _pools[program] = WorkerPool(program, min(MAX_WORKERS, os.cpu_count() or 1))
            atexit.register(pool.close)
        return pool


def try_start(program: Program, timeout_seconds: float) -> str | None:
    """Why a worker cannot start, in one line; None when it can. It is ended again."""
    worker = WorkerProcess(program, timeout_seconds)
    try:
        (worker.receive if wait([worker.connection], timeout_seconds) else worker.overrun)()
    except RuntimeError as error:
        return str(error).removeprefix("the grading worker cannot start: ")
    finally:
        worker.kill()
    return None
