"""Workers that end without a word, or on a disk that takes no more: real processes under the torch launcher, without an engine."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_lib.config import load_config
from pipeline_lib.jobs import GenerateJob, failure_file, read_failure, reserve_failure, write_failure
from pipeline_lib.messages.faults import explain
from pipeline_lib.worker.process import WorkerFailed, WorkerProcess, sudden_end

# What stands in for the engine: takes memory, then ends as the argument says.
RANK = """
import os, signal, sys, time
held = bytearray(300 << 20)
for place in range(0, len(held), 4096):
    held[place] = 1
end = sys.argv[1]
if end == "import":
    import no_such_module
time.sleep(1.2)
os.kill(os.getpid(), int(end))
"""


def worker_that_ends(home: Path, configs: Path, program: Path, end: str, launcher: list[str]) -> WorkerProcess:
    class Ending(WorkerProcess):
        def _command(self) -> list[str]:
            return [sys.executable, *launcher, str(program), end]

    return Ending(load_config(configs / "smoke.toml"), "builtin:tiny", home, will_train=False)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "rank.py"
    path.write_text(RANK)
    return path


LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"]


@pytest.mark.parametrize(("launcher", "end"), [(LAUNCHER, "9"), ([], "9"), ([], "7"), ([], "11"), ([], "import")])
def test_a_worker_that_ends_without_a_word_is_told_in_a_line(
    home: Path, configs: Path, program: Path, launcher: list[str], end: str
) -> None:
    worker = worker_that_ends(home, configs, program, end, launcher)
    with pytest.raises(WorkerFailed) as raised:
        worker.run(GenerateJob(units=()))
    worker.kill()
    line = str(raised.value)
    assert "\n" not in line and str(worker.log) in line
    if end == "import":
        assert "ModuleNotFoundError: No module named 'no_such_module'" in line
        return
    expected = {"9": "killed by the system, most likely for lack of memory", "7": "/dev/shm is full", "11": "SIGSEGV"}
    assert expected[end] in line
    held = float(line.partition("to hold up to ")[2].partition(" of the")[0])
    assert 0.29 < held < 2.0, line
    if end == "9":
        assert "compute.micro_batch_tokens" in line and "resumes" in line


def test_the_end_of_a_rank_is_read_from_the_log_of_the_deepspeed_launcher() -> None:
    log = "[ERROR] [launch.py:259:sigkill_handler] ['python', '-m', 'x'] exits with return code = -9\n"
    assert "killed by the system" in sudden_end(247, log, "it held 1 GiB")
    assert "exit status 1): ValueError: no model at /x" in sudden_end(1, "Traceback\nValueError: no model at /x\nmore\n", "")


NOTE_WITHOUT_ROOM = """
import resource, signal, sys
from pathlib import Path
from pipeline_lib.jobs import write_failure
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))  # no file may grow beyond what is taken
write_failure(Path(sys.argv[1]), 0, "the disk is full \\u2028 " * 9, "trace" * 99999)
"""


def test_a_worker_that_can_write_nothing_any_more_still_says_why(configs: Path, tmp_path: Path) -> None:
    """The note is made in room that was taken beforehand."""
    folder = tmp_path / "worker"
    folder.mkdir()
    reserve_failure(folder, 0)
    assert read_failure(folder) is None
    subprocess.run([sys.executable, "-c", NOTE_WITHOUT_ROOM, str(folder)], check=True, cwd=configs.parent)
    failure = read_failure(folder)
    assert failure and failure["line"].startswith("the disk is full") and failure["details"].endswith("trace")
    assert failure_file(folder, 0).stat().st_size == 65536


def test_of_several_ranks_the_first_to_fail_is_told(tmp_path: Path) -> None:
    for rank in range(3):
        reserve_failure(tmp_path, rank)
    write_failure(tmp_path, 2, "the cause", "")
    write_failure(tmp_path, 0, "what came of it", "")
    assert read_failure(tmp_path) == {"line": "the cause", "details": ""}


def test_lack_of_memory_names_what_needs_less(home: Path) -> None:
    for error in (
        RuntimeError("[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you tried …"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has a total capacity of 79 GiB"),
        MemoryError(),
    ):
        line = explain(error, home)
        assert line.startswith("out of memory") and "compute.micro_batch_tokens" in line and "\n" not in line
