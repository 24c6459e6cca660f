"""Homes that cannot be worked on are told of at once and in a line; what ends a run badly is told once, and truly."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_lib.config import load_config
from pipeline_lib.messages.faults import LEAST_FREE_BYTES, explain
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession, sessions_of
from pipeline_lib.stages.opened import finish, opened
from pipeline_lib.store.database import Store

REPOSITORY = Path(__file__).resolve().parents[2]


def laconic(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LACONIC_HOME": str(home), **variables}
    command = [sys.executable, "-m", "flows.cli", *arguments]
    return subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done
    [line] = done.stderr.splitlines()
    assert line.startswith("laconic: ")
    return line


def mounted(folder: Path, *options: str) -> None:
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", ",".join(options), "none", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("no file system can be mounted here: needs root")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "disk"
    mounted(folder, "size=24m")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, left_bytes: int = 0) -> Path:
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        size = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize - left_bytes
        file.write(b"\0" * size)
    return filler


def test_homes_that_cannot_be_used_are_told_of_before_anything_starts(tmp_path: Path, disk: Path) -> None:
    a_file = tmp_path / "file"
    a_file.write_text("")
    garbage = tmp_path / "garbage"
    garbage.mkdir()
    (garbage / "laconic.duckdb").write_bytes(b"garbage" * 1000)
    train = ("train", "configs/smoke.toml")
    started = time.monotonic()
    assert f"LACONIC_HOME = {a_file} is a file" in only_line(laconic(a_file, *train))
    assert "cannot be used: Not a directory" in only_line(laconic(a_file / "below", *train))
    assert "cannot be used: File name too long" in only_line(laconic(tmp_path / ("x" * 300), *train))
    assert "laconic.duckdb is not a DuckDB file" in only_line(laconic(garbage, *train))
    fill(disk, LEAST_FREE_BYTES // 2)
    assert "the disk is full (8.0 MiB free of 24.0" in only_line(laconic(disk, *train))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert f"LACONIC_HOME = {disk} cannot be written: Read-only file system" in only_line(laconic(disk, *train))
    assert "cannot be used: Read-only file system" in only_line(laconic(disk / "home", *train))
    assert time.monotonic() - started < 60  # engines and Prefect alone take longer
    assert "not a valid DuckDB database" in only_line(laconic(garbage, "sql", "select 1"))


def test_a_user_without_permission_is_told_of_it(tmp_path: Path) -> None:
    """As another user: root is refused nothing."""
    home = tmp_path / "home"
    (home / "rollouts").mkdir(parents=True)
    (home / "rollouts").chmod(0o555)
    program = (
        "import os, sys; from pathlib import Path; from pipeline_lib.messages.faults import make_home, require_writable\n"
        "os.chmod(sys.argv[1], int(sys.argv[2], 8))\n"
        "if os.getuid() == 0: os.chown(sys.argv[1], 65534, 65534); os.setgid(65534); os.setuid(65534)\n"
        "try: make_home(Path(sys.argv[1])); require_writable(Path(sys.argv[1]))\n"
        "except ValueError as error: print(error)"
    )
    for folder in [home, *home.parents][: len(home.parents) - 1]:
        if folder.owner() == "root" and folder.name.startswith("pytest-of"):
            folder.chmod(0o755)
    for parent in list(home.parents)[:3]:
        parent.chmod(0o755)

    def told(mode: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", program, str(home), mode], capture_output=True, text=True, check=True, cwd=REPOSITORY
        )
        return done.stdout.strip()

    assert f"{home / 'rollouts'} cannot be written" in told("755")
    assert f"LACONIC_HOME = {home} cannot be written: Permission denied" in told("555")
    assert "Permission denied" in told("600")


@pytest.mark.usefixtures("prefect_server")
def test_a_flow_that_fails_writes_nothing_into_the_users_own_home(home: Path, tmp_path: Path) -> None:
    from prefect.settings import get_current_settings

    user = tmp_path / "user"
    user.mkdir()
    done = laconic(home, "rollback", "nothing", HOME=str(user), PREFECT_API_URL=str(get_current_settings().api.url))
    assert "nothing" in only_line(done)
    assert list(user.rglob("*")) == []


def test_a_run_that_fills_the_disk_is_noted_as_failed_on_it(disk: Path, configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LACONIC_HOME", str(disk / "home"))
    session = RunSession(Run.of(load_config(configs / "smoke.toml", ["tracking.enabled=false"])))
    session.acquire()
    session.open(None)
    fill(disk)
    with pytest.raises(OSError, match="No space left") as raised:
        session.store.write_rollouts([], session.run.run_id, "profile", "shard")
    line = explain(raised.value, session.run.home)
    assert line.startswith(f"{session.run.rollouts_folder('profile')}") and "the disk is full (0.0 MiB free of 24.0" in line
    assert not list(session.run.home.glob("rollouts/**/.*"))
    finish(session, "failed", line)
    session.release()
    assert session.store.query("select status, error from runs").rows == [("failed", line)]


def test_a_store_is_made_whole_or_not_at_all(disk: Path) -> None:
    home = disk / "home"
    home.mkdir()
    made = 0
    for kib in range(0, 4096, 512):
        filler = fill(disk, kib << 10)
        try:
            Store(home).write("runs", [{"run_id": "one", "name": "one"}])
            made += 1
        except OSError as error:
            assert "the disk is full" in explain(error, home)
        filler.unlink()
        assert [path.name for path in home.glob(".*")] == []
        if (home / "laconic.duckdb").exists():
            assert Store(home).query("select count(*) from runs").rows in ([(0,)], [(1,)])
            (home / "laconic.duckdb").unlink()
            (home / "laconic.duckdb.wal").unlink(missing_ok=True)
    assert Store(home).query("select count(*) from runs").rows == [(0,)]


def test_limits_of_other_kinds_are_told(home: Path) -> None:
    home.mkdir()
    quota = OSError(errno.EDQUOT, "Disk quota exceeded", str(home / "x"))
    assert f"{home / 'x'} could not be written: the quota there is used up" in explain(quota, home)
    too_large = OSError(errno.EFBIG, "File too large", str(home / "x"))
    assert "ulimit -f" in explain(too_large, home)
    wrapped = RuntimeError("server error 500\nfor more see …")
    wrapped.__context__ = OSError(errno.ENOSPC, "No space left on device", str(home / "y"))
    assert str(home / "y") in explain(wrapped, home) and "the disk is full" in explain(wrapped, home)
    assert explain(KeyError("prompt"), home) == "KeyError: 'prompt'"
    assert explain(RuntimeError("two\nlines"), home) == "two lines"
    assert "the disk is full" in explain(OSError(errno.ENOSPC, "No space left on device", "/x" * 3000), home)


RAISES = """
import os, signal, sys
import flows.cli as cli

def told(number):
    try:
        os.kill(os.getpid(), number)
    except BaseException:
        return ConnectionError("refused: the other end was told to end, too")

def broken(*_, **__):
    import logging
    logging.getLogger("some.library").warning("deprecated", FutureWarning)  # as transformers does
    try:
        raise KeyError("inner")
    except KeyError:
        logging.getLogger("some.library").exception("it went\\nwrong")
    raise {error}

import flows.commands.looking as looking
looking.choose_runs_of = broken
import pipeline_lib.store.database as database
database.Store.query = broken
sys.argv = ["laconic", "sql", "select 1 -- http://me:secret@host"]
cli.main()
"""


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        ("KeyError('prompt')", 1, "laconic: KeyError: 'prompt' (traceback: "),
        ("AssertionError()", 1, "laconic: AssertionError (traceback: "),
        ("MemoryError()", 1, "laconic: out of memory (MemoryError); "),
        ("ValueError('two\\nlines')", 1, "laconic: two lines"),
        ("told(signal.SIGINT)", 130, "laconic: interrupted; the same command resumes"),
        ("told(signal.SIGTERM)", 143, "laconic: terminated; the same command resumes"),
    ],
)
def test_any_error_is_a_line_and_its_traceback_is_in_the_log(home: Path, error: str, status: int, line: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RAISES.replace("{error}", error)],
        env={**os.environ, "LACONIC_HOME": str(home)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    malformed, library, own = done.stderr.splitlines()
    assert malformed == "deprecated (<class 'FutureWarning'>,)"
    assert library == "it went wrong (KeyError: 'inner')"
    assert own.startswith(line), own
    assert done.returncode == status
    log = (home / "errors.log").read_text()
    assert "http://host" in log and "secret" not in log
    assert "KeyError: 'inner'" in log and log.count("Traceback") == (1 if status > 1 else 2)


def test_the_end_of_one_run_is_noted_whatever_that_of_another_meets(
    home: Path, configs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose row cannot be written must not hide the error, nor keep its control running."""

    smoke = load_config(
        configs / "smoke.toml", ["tracking.enabled=false", "control.enabled=true", "control.rollout_limit_tokens=128"]
    )
    first, second = sessions_of(smoke)
    path = first.store.path
    held: list[Path] = []

    def work() -> None:
        with opened([first, second]):
            held.append(path.rename(path.with_name("elsewhere")))  # a store that cannot be opened for the first run alone
            path.mkdir()
            monkeypatch.setattr(second, "close_worker", put_back)
            raise KeyError("the cause")

    def put_back(at_once: bool = False) -> None:
        path.rmdir()
        held[0].rename(path)

    with pytest.raises(KeyError, match="the cause") as raised:
        work()
    [note] = raised.value.__notes__
    assert note.startswith(f"run {first.run.run_id} is still called running")
    rows = dict(Store(home).query("select run_id, status from runs").rows)
    assert rows == {first.run.run_id: "running", second.run.run_id: "failed"}
    from pipeline_lib.runs.crashed_runs import close_crashed_runs

    assert [row["run_id"] for row in close_crashed_runs(home)] == [first.run.run_id]


WAITS = """
import signal, threading, time
from flows.server.termination import end_when_told
end_when_told()
def tell():
    time.sleep(0.5)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
threading.Thread(target=tell, daemon=True).start()
threading.Event().wait()
"""


def test_a_signal_that_another_thread_is_handed_ends_a_waiting_command() -> None:
    """As the system may choose; a main thread that waits for a lock, as for child runs, sees nothing of it by itself."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", WAITS], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (143, "")
    assert time.monotonic() - started < 8.0
