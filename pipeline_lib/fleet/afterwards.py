"""Ends what a killed process leaves behind: a process of its own, which that one starts, outlives and ends in good order.

Ray ends nearly all by itself; two agents, however, report to its dead server for a minute that it has died.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from pipeline_lib.processes import OWNER_POLL_SECONDS, descendants, python_path

# For the processes that end by themselves to have closed their files.
FOLDER_SECONDS = 4.0


@contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    """Should this process be killed meanwhile, those it has started in a folder are ended, and theirs, and the folder is removed."""
    leaders = [process for process in psutil.Process().children() if any(str(folder) in word for word in process.cmdline())]
    started = [str(process.pid) for leader in leaders for process in (leader, *descendants(leader.pid))]
    command = [sys.executable, "-m", "pipeline_lib.fleet.afterwards", str(folder), str(os.getpid()), *started]
    environment = {**os.environ, "PYTHONPATH": python_path()}
    watch = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        watch.kill()
        watch.wait()


def _end_afterwards(folder: Path, owner: int, pids: list[int]) -> None:
    processes = list[psutil.Process]()
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(pid))
    while os.getppid() == owner:
        time.sleep(OWNER_POLL_SECONDS)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    time.sleep(FOLDER_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _end_afterwards(Path(sys.argv[1]), int(sys.argv[2]), [int(pid) for pid in sys.argv[3:]])
