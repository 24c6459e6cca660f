"""Judges many programs at once in sandbox processes that are shared, replaced when they die, and closed at exit."""

import atexit
import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from time import monotonic
from typing import Literal

from pipeline_lib.grading.code.containers import DockerLauncher, bubblewrap_prefix, require_tool
from pipeline_lib.grading.code.execution import Execution, Launcher, Overrun
from pipeline_lib.grading.code.judges import Bench, judge
from pipeline_lib.grading.code.sandbox.confinement import private_uid
from pipeline_lib.grading.code.sandbox.frames import ChannelClosed
from pipeline_lib.grading.code.specifications import Tests, parse_tests
from pipeline_lib.grading.code.verdicts import CodeVerdict, SandboxLimits
from pipeline_lib.grading.code.zygote_process import SandboxGone, ZygoteProcess, start_zygote

MAX_SLOTS = 8
ISOLATIONS = ("process", "bubblewrap", "docker")
# A sandbox that dies takes the programs in it along: each of them gets a second chance in the next one.
_NUM_ATTEMPTS = 3

Isolation = Literal["process", "bubblewrap", "docker"]

# As a program in the sandbox finds them.
PROTECTIONS = {
    "mount_namespace": "a file system of its own",
    "pid_namespace": "process ids of its own",
    "network_namespace": "a network of its own, without any interface",
    "own_user": "a user of its own",
    "task_limit": "a limit on processes and threads",
    "landlock": "Landlock rules for files",
    "seccomp": "a filter on system calls",
}

_PROBE_TIMEOUT_SECONDS = 20.0
_PROBE_PLACE = 62
_warned = False
_warning_lock = threading.Lock()

logger = logging.getLogger(__name__)


def probe_protections(launcher: Launcher) -> dict[str, bool]:
    """What a program really runs under, told by a confined process before any program is in it. Raises RuntimeError."""
    deadline = monotonic() + _PROBE_TIMEOUT_SECONDS
    try:
        with Execution(launcher, SandboxLimits(), deadline, _PROBE_TIMEOUT_SECONDS, private_uid(0, _PROBE_PLACE)) as execution:
            try:
                execution.send({"mode": "protections"})
                found = execution.receive(4096)
            except (ChannelClosed, Overrun) as error:
                raise RuntimeError(f"the code sandbox does not work: {execution.wait().detail}") from error
    except SandboxGone as error:
        raise RuntimeError(f"the code sandbox does not work: {error}") from error
    return {name: bool(found[name]) for name in PROTECTIONS}


def warn_of_missing(protections: dict[str, bool]) -> None:
    """Log one warning a process that names what is missing."""
    global _warned
    missing = [PROTECTIONS[name] for name, in_force in protections.items() if not in_force]
    with _warning_lock:
        if missing and not _warned:
            _warned = True
            logger.warning("programs are graded without %s: see docs/code_grading.md", ", ".join(missing))


class SandboxPool:
    """The sandbox process of one kind of isolation, and as many slots as programs may run at once."""

    def __init__(self, isolation: Isolation) -> None:
        self.isolation = isolation
        self.owner_pid = os.getpid()
        self.num_slots = min(MAX_SLOTS, os.cpu_count() or 1)
        self._slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(self.num_slots):
            self._slots.put(slot)
        self._lock = threading.Lock()
        self._zygote: ZygoteProcess | None = None
        self._closed = False

    def judge(self, program: str, tests: Tests, timeout_seconds: float, limits: SandboxLimits) -> CodeVerdict:
        """The verdict on one program; waits for a free slot."""
        slot = self._slots.get()
        try:
            return self._judge_in_slot(slot, program, tests, timeout_seconds, limits)
        finally:
            self._slots.put(slot)

    def _judge_in_slot(
        self, slot: int, program: str, tests: Tests, timeout_seconds: float, limits: SandboxLimits
    ) -> CodeVerdict:
        started = monotonic()
        failure = ""
        for _ in range(_NUM_ATTEMPTS):
            zygote = self.zygote()
            launcher: Launcher = DockerLauncher() if self.isolation == "docker" else zygote
            uids = private_uid(self.owner_pid, 2 * slot), private_uid(self.owner_pid, 2 * slot + 1)
            try:
                return judge(program, tests, Bench(launcher, zygote, limits, timeout_seconds, *uids))
            except SandboxGone as error:
                failure = str(error)
                self._replace(zygote)
        return CodeVerdict("error", monotonic() - started, failure, 0, tests.num_tests)

    def zygote(self) -> ZygoteProcess:
        """The sandbox process, started if need be. Raises RuntimeError when it cannot start."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the code sandbox is closed")
            if self._zygote is None or not self._zygote.alive:
                if self._zygote is not None:
                    self._zygote.close()
                self._zygote = start_zygote(bubblewrap_prefix() if self.isolation == "bubblewrap" else ())
                if self.isolation != "docker":
                    warn_of_missing(probe_protections(self._zygote))
            return self._zygote

    def _replace(self, failed: ZygoteProcess) -> None:
        """Close a sandbox process that failed, unless that was done already; the next call of zygote() starts another."""
        with self._lock:
            if self._zygote is failed:
                failed.close()
                self._zygote = None

    def close(self) -> None:
        """End the sandbox process and every program in it."""
        with self._lock:
            self._closed = True
            if self._zygote is not None and self.owner_pid == os.getpid():
                self._zygote.close()
            self._zygote = None


_pools: dict[str, SandboxPool] = {}
_pools_lock = threading.Lock()


def sandbox_pool(isolation: Isolation) -> SandboxPool:
    """This process's pool for a kind of isolation, made on first use; a forked child makes its own.

    Raises ValueError when the isolation is unknown or its tool is not installed.
    """
    if isolation not in ISOLATIONS:
        raise ValueError(f"isolation = {isolation!r} is not one of {', '.join(ISOLATIONS)}")
    require_tool(isolation)
    with _pools_lock:
        pool = _pools.get(isolation)
        if pool is None or pool.owner_pid != os.getpid():
            pool = _pools[isolation] = SandboxPool(isolation)
            atexit.register(pool.close)
        return pool


def sandbox_protections() -> dict[str, bool]:
    """Which of PROTECTIONS are in force for programs that are graded on this machine with isolation "process".

    Starts the sandbox if it does not run yet. Raises RuntimeError when it cannot start.
    """
    return probe_protections(sandbox_pool("process").zygote())


def judge_programs(
    programs: Sequence[str],
    tests: Sequence[str],
    timeout_seconds: float = 6.0,
    on_done: Callable[[int], object] | None = None,
    limits: SandboxLimits | None = None,
    isolation: Isolation = "process",
) -> list[CodeVerdict]:
    """One verdict a program, in order. Safe to call from any thread.

    `tests[i]` is the JSON test specification of `programs[i]` (see `specifications`). `timeout_seconds` is wall time for one
    case of stdin and function tests (loading the program counts as one more) and for all of a test program, 6 as in
    LiveCodeBench. `on_done(1)` is called in this thread for each program judged. As many programs as there are cores run
    at once, 8 at most. Raises ValueError when the lengths differ, a specification is malformed, a limit or isolation is not
    allowed; RuntimeError when the sandbox cannot be started at all.
    """
    if len(programs) != len(tests):
        raise ValueError(f"{len(programs)} programs and {len(tests)} test specifications: need one of each")
    if not timeout_seconds > 0:
        raise ValueError(f"timeout_seconds = {timeout_seconds} is not allowed: need more than 0")
    # The answers of one problem share its tests.
    distinct = {specification: parse_tests(specification) for specification in tests}
    parsed = [distinct[specification] for specification in tests]
    pool = sandbox_pool(isolation)
    limits = limits or SandboxLimits()
    if not programs:
        return []
    verdicts: dict[int, CodeVerdict] = {}
    with ThreadPoolExecutor(min(pool.num_slots, len(programs)), thread_name_prefix="code-grading") as executor:
        futures = {
            executor.submit(pool.judge, program, parsed[index], timeout_seconds, limits): index
            for index, program in enumerate(programs)
        }
        try:
            for future in as_completed(futures):
                index = futures[future]
                verdicts[index] = future.result()
                if on_done is not None:
                    on_done(1)
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
    return [verdicts[index] for index in range(len(programs))]
