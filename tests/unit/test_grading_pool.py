"""The maths workers: hard time-outs, crashes, interrupts and orphans, each followed by right verdicts."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from pipeline_lib.grading import pool as worker_pools
from pipeline_lib.grading.maths.grader import MATHS
from pipeline_lib.grading.pool import WorkerPool


def tower(*numbers: int) -> list:
    """The tree of a tower of powers."""
    return ["n", str(numbers[0])] if len(numbers) == 1 else ["^", ["n", str(numbers[0])], tower(*numbers[1:])]


def equal(gold: list, answer: list) -> dict:
    """The question whether two trees have the same value."""
    return {"node": ["equal", gold, answer], "tolerance": None}


ENDLESS = equal(["+", tower(9, 9, 9, 9), ["s", "x"]], ["+", tower(9, 9, 9, 8), ["s", "x"]])
EQUAL = equal(["/", ["n", "1"], ["n", "2"]], ["n", "0.5"])
UNEQUAL = equal(["/", ["n", "1"], ["n", "3"]], ["n", "0.5"])


@pytest.fixture(scope="module")
def pool():
    shared = WorkerPool(MATHS, num_workers=1)
    yield shared
    shared.close()


def reasons(pool: WorkerPool, questions: list, timeout_seconds: float) -> list[str]:
    return [outcome.reason for outcome in pool.judge(questions, timeout_seconds)]


def when_busy(pool: WorkerPool, action) -> threading.Thread:
    """Run `action(worker)` in a thread as soon as a worker has a comparison in hand."""

    def watch() -> None:
        while not (busy := [worker for worker in list(pool._workers) if worker.job is not None]):
            time.sleep(0.01)
        action(busy[0])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_verdicts_come_back_in_order(pool):
    assert reasons(pool, [EQUAL, UNEQUAL, EQUAL, UNEQUAL], 30.0) == ["correct", "wrong", "correct", "wrong"]


def test_an_endless_comparison_is_cut_off_and_the_rest_is_judged(pool):
    assert reasons(pool, [EQUAL, ENDLESS], 0.5) == ["correct", "timeout"]
    assert reasons(pool, [EQUAL], 30.0) == ["correct"]


def test_a_crash_is_an_error_and_the_pool_heals(pool):
    thread = when_busy(pool, lambda worker: os.kill(worker.process.pid, signal.SIGKILL))
    assert reasons(pool, [ENDLESS, EQUAL], 30.0) == ["error", "correct"]
    thread.join()


def test_a_worker_that_died_while_idle_costs_no_verdict(pool):
    pool.judge([EQUAL], timeout_seconds=30.0)
    (worker,) = pool._workers
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.wait()
    assert reasons(pool, [UNEQUAL, EQUAL], 30.0) == ["wrong", "correct"]


class Interrupted(Exception):
    """Raised by the test's signal handler."""


def test_an_interrupted_call_leaves_no_late_reply_behind(pool):
    def interrupt(_signal_number, _frame):
        raise Interrupted

    previous = signal.signal(signal.SIGUSR1, interrupt)
    try:
        pool.judge([EQUAL], timeout_seconds=30.0)
        thread = when_busy(pool, lambda _worker: signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1))
        with pytest.raises(Interrupted):
            pool.judge([ENDLESS], timeout_seconds=30.0)
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert reasons(pool, [UNEQUAL, EQUAL], 30.0) == ["wrong", "correct"]


def test_threads_get_right_verdicts_too(pool):
    verdicts: dict[int, list[str]] = {}

    def judge(number: int) -> None:
        verdicts[number] = reasons(pool, [EQUAL, UNEQUAL][:: 1 if number % 2 else -1], 30.0)

    threads = [threading.Thread(target=judge, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts == {number: ["correct", "wrong"] if number % 2 else ["wrong", "correct"] for number in range(4)}


def test_questions_are_combined(pool):
    yes, no = EQUAL["node"], UNEQUAL["node"]
    nodes = [["all", [yes, yes]], ["all", [yes, no]], ["any", [no, yes]], ["any", [no, no]]]
    nodes += [["match", [[no, yes], [yes, no]]], ["match", [[yes, no], [yes, no]]], ["match", [[yes, yes], [yes, False]]]]
    verdicts = reasons(pool, [{"node": node, "tolerance": None} for node in nodes], 30.0)
    assert verdicts == ["correct", "wrong", "correct", "wrong", "correct", "wrong", "correct"]


def test_outcomes_carry_their_time_and_are_announced(pool):
    seen = {}
    outcomes = pool.judge([EQUAL, ENDLESS], timeout_seconds=0.5, on_done=seen.__setitem__)
    assert seen == dict(enumerate(outcomes))
    assert 0 < outcomes[0].seconds < 0.5 <= outcomes[1].seconds < 2


def test_memory_beyond_the_workers_limit_is_an_error_and_no_more(pool):
    # A number of 4 GB.
    greedy = equal(["n", "5"], tower(2, 32_000_000_000))
    assert reasons(pool, [greedy, EQUAL], 30.0) == ["error", "correct"]


def test_a_worker_that_cannot_start_is_a_loud_error(monkeypatch, tmp_path):
    broken = tmp_path / "worker.py"
    broken.write_text("raise SystemExit(1)", encoding="utf-8")
    monkeypatch.setattr(worker_pools, "WORKER_PROGRAM", broken)
    failing = WorkerPool(MATHS, num_workers=1)
    with pytest.raises(RuntimeError, match="the grading worker cannot start: the process died"):
        failing.judge([EQUAL], timeout_seconds=30.0)
    assert failing._workers == []


PARENT = f"""
import os, signal, threading, time
from pipeline_lib.grading.maths.grader import MATHS
from pipeline_lib.grading.pool import WorkerPool
pool = WorkerPool(MATHS, num_workers=1)
threading.Thread(target=pool.judge, args=([{ENDLESS!r}], 1.0), daemon=True).start()
while not any(worker.job is not None for worker in pool._workers):
    time.sleep(0.01)
print(pool._workers[0].process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_no_worker_outlives_a_killed_parent():
    parent = subprocess.run([sys.executable, "-c", PARENT], capture_output=True, text=True, timeout=60, check=False)
    assert parent.returncode == -signal.SIGKILL
    worker_pid = int(parent.stdout)
    deadline = time.monotonic() + 20
    while psutil.pid_exists(worker_pid) and psutil.Process(worker_pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the worker still runs"
        time.sleep(0.1)
