"""Mathematical equality of two answers: cheap exact paths first, then math-verify in worker processes that can be killed.

Symbolic comparison may run for ever, eat memory or crash, and math-verify's own time-outs are signals, which fail outside the
main thread. So each comparison runs in a process of its own under a wall-clock limit kept here; a worker that overruns or
dies is replaced and the answer gets a reason of its own.
"""

import atexit
import os
import re
import threading
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import wait
from time import monotonic

from pipeline_lib.grading.exact import is_exact_match
from pipeline_lib.grading.maths_process import MathsProcess

MAX_WORKERS = 8
START_TIMEOUT_SECONDS = 120.0

# Up to 15 digits math-verify compares exactly too, so deciding here changes no verdict.
PLAIN_INTEGER = re.compile(r"[+-]?\d{1,15}", re.ASCII)

AnswerPair = tuple[str, str]


def judge_answers(pairs: Sequence[AnswerPair], timeout_seconds: float) -> list[str]:
    """For each (answer, gold): correct, wrong, timeout (over the limit) or error (the comparison crashed).

    Raises RuntimeError when the worker processes cannot be started at all.
    """
    reasons = [_judge_without_algebra(strip_dollars(answer), strip_dollars(gold)) for answer, gold in pairs]
    undecided = [index for index, reason in enumerate(reasons) if reason is None]
    if undecided:
        algebra = [(strip_dollars(pairs[index][0]), strip_dollars(pairs[index][1])) for index in undecided]
        for index, reason in zip(undecided, _shared_pool().judge(algebra, timeout_seconds), strict=True):
            reasons[index] = reason
    return [reason for reason in reasons if reason is not None]


def strip_dollars(text: str) -> str:
    """The text without the dollar signs of TeX's inline or display mode around it."""
    text = text.strip()
    inner = text.strip("$")
    enclosed = text.startswith("$") and text.endswith("$") and "$" not in inner
    return inner.strip() if enclosed else text


def _judge_without_algebra(answer: str, gold: str) -> str | None:
    if is_exact_match(answer, gold):
        return "correct"
    if PLAIN_INTEGER.fullmatch(answer) and PLAIN_INTEGER.fullmatch(gold):
        return "correct" if int(answer) == int(gold) else "wrong"
    return None


class MathsPool:
    """Worker processes that compare answers; started when needed, replaced when they overrun or die."""

    def __init__(self, num_workers: int) -> None:
        self.num_workers = num_workers
        self.owner_pid = os.getpid()
        self._workers: list[MathsProcess] = []
        self._lock = threading.Lock()

    def judge(self, pairs: Sequence[AnswerPair], timeout_seconds: float) -> list[str]:
        """The reason for each (answer, gold). Safe to call from any thread; calls take turns."""
        with self._lock:
            try:
                return self._judge(pairs, timeout_seconds)
            finally:
                # An interrupted call leaves comparisons behind whose late replies must not meet the next call's answers.
                self._drop([worker for worker in self._workers if worker.job is not None or worker.broken])

    def _judge(self, pairs: Sequence[AnswerPair], timeout_seconds: float) -> list[str]:
        reasons: dict[int, str] = {}
        waiting = deque(range(len(pairs)))
        while len(reasons) < len(pairs):
            self._assign(pairs, waiting, timeout_seconds)
            nearest = min((worker.deadline for worker in self._workers if worker.deadline is not None), default=monotonic())
            readable = wait([worker.connection for worker in self._workers], timeout=max(0.0, nearest - monotonic()))
            for worker in list(self._workers):
                job = worker.job
                if worker.connection in readable:
                    reason = worker.receive()
                    if worker.broken:
                        self._drop([worker])
                elif worker.deadline is not None and monotonic() > worker.deadline:
                    self._drop([worker])
                    reason = worker.overrun()
                else:
                    continue
                if job is not None:
                    reasons[job] = reason
        return [reasons[index] for index in range(len(pairs))]

    def _assign(self, pairs: Sequence[AnswerPair], waiting: deque[int], timeout_seconds: float) -> None:
        """Hand waiting comparisons to idle workers and start as many workers as there is work for."""
        for worker in list(self._workers):
            if worker.idle and waiting:
                job = waiting.popleft()
                if not worker.send(job, *pairs[job], timeout_seconds):
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


def _shared_pool() -> MathsPool:
    """The pool of this process, made on first use; a forked child makes its own."""
    global _pool
    with _pool_lock:
        if _pool is None or _pool.owner_pid != os.getpid():
            _pool = MathsPool(min(MAX_WORKERS, os.cpu_count() or 1))
            atexit.register(_pool.close)
        return _pool
