"""Workers that end without a word, or on a disk that takes no more: real processes under the torch launcher, without an engine."""

import errno
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline_lib.config import load_config
from pipeline_lib.generation.parity import ParityError
from pipeline_lib.jobs import GenerateJob, failure_file, read_failure, reserve_failure, write_failure
from pipeline_lib.messages.faults import explain, will_repeat
from pipeline_lib.messages.finite import NotFiniteError
from pipeline_lib.report.watched import restart_notes
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages.restarting import run_job
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
    assert read_failure(tmp_path) == {"line": "the cause", "details": "", "repeats": True}


def test_lack_of_memory_names_what_needs_less(home: Path) -> None:
    for error in (
        RuntimeError("[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you tried …"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has a total capacity of 79 GiB"),
        MemoryError(),
    ):
        line = explain(error, home)
        assert line.startswith("out of memory") and "compute.micro_batch_tokens" in line and "\n" not in line


# A worker of several lives: in each it does some pieces of its work (files), then ends as its plan says.
LIVES = """
import json, os, sys, time
from pathlib import Path
folder, work, plan = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].split()
while not (folder / "0000.json").exists():
    time.sleep(0.01)
pieces, end = plan[len(list(work.glob("life-*")))].split(":")
(work / f"life-{folder.name}").touch()
for piece in range(int(pieces)):
    (work / f"piece-{folder.name}-{piece}").touch()
if end.isdigit():
    os.kill(os.getpid(), int(end))
while end == "sleep":
    time.sleep(1)
name = "0000.result.json" if end == "done" else "failure-0.json"
(work / name).write_text(json.dumps({"value": "all done", "line": f"an {end}", "repeats": end == "error"}))
os.replace(work / name, folder / name)
time.sleep(30)
"""


@pytest.fixture
def session(home: Path, configs: Path, tmp_path: Path) -> RunSession:
    return RunSession(Run.of(load_config(configs / "smoke.toml")))


ENDED = "1:sleep 1:done"  # whose first life is long, and is ended by the command


def wait_for_life(work: Path) -> None:
    while not list(work.glob("piece-*")):
        time.sleep(0.02)


def run_lives(session: RunSession, work: Path, plan: str) -> tuple[str, list[tuple[str, int]]]:
    """What came of a job whose worker lives by a plan, and the events of the run."""
    program = work / "lives.py"
    program.write_text(LIVES)

    class Living(WorkerProcess):
        def _command(self) -> list[str]:
            return [sys.executable, str(program), str(self.folder), str(work), plan]

    worker = Living(session.run.config, "builtin:tiny", session.run.home, will_train=False)
    session._worker = worker
    if plan == ENDED:
        threading.Thread(target=lambda: (wait_for_life(work), worker.kill())).start()
    try:
        came: str = run_job(
            session, "profile", lambda: GenerateJob(units=()), lambda _: None, lambda: len(list(work.glob("piece-*")))
        )
    except WorkerFailed as failure:
        came = str(failure)
    finally:
        worker.kill()
    events = session.store.named("events_of_run", run_id=session.run.run_id)
    assert all(event["stage"] == "profile" and "\n" not in event["reason"] for event in events)
    return came, [(event["kind"], event["done"]) for event in events]


AGAIN, GIVEN_UP = "worker_restarted", "worker_given_up"


@pytest.mark.parametrize(
    ("plan", "told", "events"),
    [
        ("2:9 1:lost 1:done", "all done", [(AGAIN, 2), (AGAIN, 3)]),
        ("0:9 0:9", "nothing new was done", [(AGAIN, 0), (GIVEN_UP, 0)]),
        ("1:9 1:6 1:11", "compute.restarts = 2 were used up", [(AGAIN, 1), (AGAIN, 2), (GIVEN_UP, 3)]),
        ("1:error", "an error", []),
        ("1:15", "SIGTERM", []),  # somebody has told it to end
    ],
)
def test_a_worker_that_dies_is_followed_by_another_as_long_as_that_gets_on(
    session: RunSession, tmp_path: Path, plan: str, told: str, events: list[tuple[str, int]]
) -> None:
    came, happened = run_lives(session, tmp_path, plan)
    assert told in came and happened == events
    if GIVEN_UP in dict(events):
        [note] = restart_notes("this run", session.store.named("events_of_run", run_id=session.run.run_id))
        assert f"{'once' if len(events) == 2 else '2 times'}, the last time in profile after {events[-2][1]} shards: " in note


def test_a_worker_that_its_command_ends_is_not_followed_by_another(session: RunSession, tmp_path: Path) -> None:
    came, events = run_lives(session, tmp_path, ENDED)
    assert "ended" in came and events == []
    assert len(list(tmp_path.glob("life-*"))) == 1
    with pytest.raises(WorkerFailed, match="was ended"):
        session.worker.restart()


def test_without_restarts_the_first_death_ends_the_stage(home: Path, configs: Path, tmp_path: Path) -> None:
    session = RunSession(Run.of(load_config(configs / "smoke.toml", ["compute.restarts=0"])))
    came, events = run_lives(session, tmp_path, "1:9 1:done")
    assert "killed by the system" in came and events == []


@pytest.mark.parametrize(
    ("error", "repeats"),
    [
        (MemoryError(), False),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), False),
        (RuntimeError("[gloo] Connection closed by peer [127.0.0.1]:4711"), False),
        (ConnectionResetError(104, "Connection reset by peer"), False),
        (OSError(errno.EIO, "Input/output error"), False),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (FileNotFoundError(2, "No such file or directory"), True),
        (ParityError("the engine does not generate with the trained weights"), True),
        (NotFiniteError("the loss is nan"), True),
        (ValueError("a setting"), True),
        (KeyError("a bug"), True),
    ],
    ids=repr,
)
def test_which_errors_another_worker_would_meet_again(error: Exception, repeats: bool) -> None:
    assert will_repeat(error) is repeats
