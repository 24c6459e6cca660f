"""Starts a worker in a process group of its own, hands it jobs, follows their progress, and ends every process of it."""

import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from pipeline_lib.config import RunConfig
from pipeline_lib.files.home import below
from pipeline_lib.jobs import GenerateJob, TrainJob, read_failure, read_json, reserve_failure, write_json
from pipeline_lib.messages.faults import LESS_MEMORY, RESUMES, Explained, one_line
from pipeline_lib.processes import KILL_SECONDS, descendants, end_process_tree, python_path, thread_environment
from pipeline_lib.worker.devices import device_environment, visible_devices
from pipeline_lib.worker.memory import GIB, MemoryWatch

POLL_SECONDS = 0.05
CLOSE_SECONDS = 15.0
SHARED_MEMORY = "/dev/shm"
# How the torch and the DeepSpeed launcher log the end of a rank; both exit with a status of their own.
RANK_EXIT = re.compile(r"exitcode\s*:\s*(-?\d+)|exits with return code = (-?\d+)")
# A worker that ends by itself does so again, and one that is told to end is not wanted.
NOT_PASSING = (None, signal.SIGTERM, signal.SIGINT)
LOGGED_ERROR = re.compile(r"^(?:\[rank\d+\]:\s*)?((?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b:?.*)$", re.MULTILINE)

logger = logging.getLogger(__name__)


class WorkerFailed(Explained):
    """A worker's job ended with an error, or its process with no result; one line, the traceback is in the worker's log.

    `repeats`: a new worker would fail by the same, or nobody wants one.
    """

    def __init__(self, line: str, repeats: bool = True) -> None:
        super().__init__(line)
        self.repeats = repeats


class WorkerProcess:
    """A worker for one run. Start it early: imports and engine take tens of seconds, in which other work can be done.

    `devices` are the cards of its processes (`worker.devices`); empty: the first that this process sees.
    """

    def __init__(self, config: RunConfig, base_folder: str, home: Path, will_train: bool, devices: Sequence[int] = ()) -> None:
        self._config, self._home, self._devices = config, home, devices
        self.folder = self._new_folder()
        self._settings = {"base_folder": base_folder, "will_train": will_train}
        self._share = self._engine_share(trains=False)
        self._process: subprocess.Popen[bytes] | None = None
        self._memory: MemoryWatch | None = None
        self._next_job = 0
        self._changing = threading.RLock()  # another thread may end it while it is started anew
        self._is_ended = False

    def _new_folder(self) -> Path:
        return new_folder(self._home, self._config)

    def _engine_share(self, trains: bool) -> float:
        # Without a card an engine has the cache that it is told to have.
        return self._config.generation.memory_share(trains or not visible_devices())

    def start(self) -> None:
        """Start the launcher and its ranks, if that has not been done. Raises WorkerFailed when it was ended."""
        with self._changing:
            if self._is_ended:
                raise WorkerFailed(f"the worker of {self._config.run_id} was ended")
            if not self._process:
                self._start()

    def restart(self) -> None:
        """End what is left of a worker that has failed, and start it anew. Raises WorkerFailed when it was ended."""
        with self._changing:
            if self._process:
                ranks = descendants(self._process.pid)
                self._end(self._process)
                psutil.wait_procs(ranks, timeout=KILL_SECONDS)  # until one is gone it holds the memory of its card
            self.folder, self._next_job = self._new_folder(), 0
            self.start()

    def _start(self) -> None:
        prepare_folder(self.folder, self._config, self._share, self._settings)
        with open(self.folder / "log.txt", "wb") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=_environment(self._config, self._devices),
            )
        self._memory = MemoryWatch(self._process.pid)
        write_json(self.folder / "process.json", {"pid": self._process.pid, "owner": os.getpid(), "started": time.time()})

    @property
    def is_running(self) -> bool:
        """Whether its process has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def _command(self) -> list[str]:
        program = ["-m", "pipeline_lib.worker.program"]
        arguments = ["--folder", str(self.folder), "--owner", str(os.getpid())]
        count = str(self._config.compute.num_processes)
        if self._config.compute.launcher == "torch":
            if count == "1":  # a launcher would import torch for seconds to start one process
                return [sys.executable, *program, *arguments]
            launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count]
            return [sys.executable, *launcher, *program, *arguments]
        launcher = ["-m", "deepspeed.launcher.runner", "--num_gpus", count, "--master_port", str(_free_port()), "--module"]
        return [sys.executable, *launcher, program[1], *arguments]

    def run(self, job: GenerateJob | TrainJob, on_progress: Callable[[dict[str, Any]], None] | None = None) -> Any:
        """Run a job to its end and return its result; `on_progress` gets each new progress. Raises WorkerFailed.

        A worker whose engine has another share of its GPU than the job can have is followed by a new one: vLLM's cache cannot grow.
        """
        share = self._engine_share(trains=isinstance(job, TrainJob))
        if share != self._share:
            logger.info("a new worker, whose engine has %g of the GPU instead of %g", share, self._share)
            self._share = share
            self.restart()
        self.start()
        number, self._next_job = self._next_job, self._next_job + 1
        write_json(self.folder / f"{number:04d}.json", job.model_dump(mode="json"))
        result_path, progress_path = self.folder / f"{number:04d}.result.json", self.folder / f"{number:04d}.progress.json"
        seen: Any = None
        while True:
            finished = result_path.exists()
            ended = self._process is None or self._process.poll() is not None
            if self._memory:
                self._memory.look()
            if on_progress and progress_path.exists() and (progress := read_json(progress_path)) != seen:
                on_progress(seen := progress)
            if finished:
                return read_json(result_path)["value"]
            if failure := read_failure(self.folder):
                raise WorkerFailed(f"{failure['line']} (log: {self.log})", failure["repeats"] or self._is_ended)
            if ended and not result_path.exists():
                held = self._memory.words() if self._memory else ""
                log = self.log.read_text(encoding="utf-8", errors="replace")
                code = self._process.poll() if self._process else None
                repeats = exit_signal(code, log) in NOT_PASSING or self._is_ended
                raise WorkerFailed(f"{sudden_end(code, log, held)} (log: {self.log})", repeats)
            time.sleep(POLL_SECONDS)

    @property
    def log(self) -> Path:
        """What launcher and ranks print, tracebacks included."""
        return self.folder / "log.txt"

    def close(self) -> None:
        """Let the worker end by itself, then end whatever of it is left."""
        if self._process and self._process.poll() is None and self.folder.exists():
            (self.folder / "close").touch()
            try:
                self._process.wait(CLOSE_SECONDS)
            except subprocess.TimeoutExpired:
                logger.warning("the worker of %s did not close in %.0f s; ending it", self._config.run_id, CLOSE_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End every process of the worker at once (the launcher starts its ranks in sessions of their own)."""
        self._is_ended = True  # before the lock: a thread that holds it must not start it anew
        with self._changing:
            if self._process:
                self._end(self._process)

    def _end(self, process: "subprocess.Popen[bytes]") -> None:
        end_process_tree(process.pid)
        process.wait()
        self._process = None


def new_folder(home: Path, config: RunConfig) -> Path:
    """Where a worker of a run gets its jobs from, which nobody else has."""
    return below(home, "workers", f"{config.run_id}-{uuid.uuid4().hex[:8]}")


def prepare_folder(folder: Path, config: RunConfig, share: float, settings: dict[str, Any]) -> None:
    """Make a worker's folder, for ranks whose engines have that share of their GPU, and room for what they may fail by."""
    folder.mkdir(parents=True)
    tree = config.model_dump(mode="json")
    tree["generation"]["gpu_memory_utilization"] = share
    write_json(folder / "worker.json", {"config": tree, **settings})
    for rank in range(config.compute.num_processes):
        reserve_failure(folder, rank)


def exit_signal(exit_code: int | None, log: str) -> int | None:
    """The signal that ended a worker, or the first of its ranks as its launcher logs it; None: it ended by itself."""
    codes = [exit_code, *(int(code) for match in RANK_EXIT.finditer(log) for code in match.groups() if code)]
    return next((-code for code in codes if code is not None and code < 0), None)


def sudden_end(exit_code: int | None, log: str, memory: str) -> str:
    """One line on a worker that ended without a word: by which signal, or by which error."""
    number = exit_signal(exit_code, log)
    if number == signal.SIGKILL:
        return f"the worker was killed by the system, most likely for lack of memory: {memory}; {LESS_MEMORY}; then {RESUMES}"
    if number == signal.SIGBUS:
        usage = shutil.disk_usage(SHARED_MEMORY)
        room = f"{usage.free / GIB:.2f} of {usage.total / GIB:.2f} GiB free"
        return (
            f"the worker ended by a bus error, most likely because {SHARED_MEMORY} is full ({room}); {memory}; then {RESUMES}"
        )
    if number is not None:
        return f"the worker was ended by {signal.Signals(number).name}; {memory}; {RESUMES}"
    # A rank's own error comes before what its launcher makes of it.
    error = LOGGED_ERROR.search(log)
    cause = f": {one_line(error.group(1))[:300]}" if error else ""
    return f"the worker ended without a result (exit status {exit_code}){cause}"


def _environment(config: RunConfig, devices: Sequence[int]) -> dict[str, str]:
    threads = thread_environment(config.compute.num_threads)
    return {**os.environ, "PYTHONPATH": python_path(), **threads, **device_environment(devices)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
