"""The store between processes: writers share a file, readers see whole files, a killed writer loses its transaction only."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest

from pipeline_lib.records import DifficultyEstimate, Rollout
from pipeline_lib.store.connections import StoreBusyError, connect
from pipeline_lib.store.database import Store

REPOSITORY = Path(__file__).parents[2]

WRITER = """
import sys
from pathlib import Path
from pipeline_lib.records import DifficultyEstimate
from pipeline_lib.store.database import Store
store = Store(Path(sys.argv[1]), lock_wait_seconds=60.0)
for index in range(int(sys.argv[3])):
    store.write("difficulty", [DifficultyEstimate(sys.argv[2], f"p{index}", 8, 4, 0.5, 1.0)])
"""

HOLDER = """
import sys, time
from pathlib import Path
from pipeline_lib.store.connections import connect
with connect(Path(sys.argv[1]), read_only=False, wait_seconds=10) as connection:
    connection.begin()
    connection.execute("INSERT INTO difficulty VALUES ('open', 'p', 8, 4, 0.5, 1.0, NULL)")
    print("holding", flush=True)
    time.sleep(60)
"""

REPLACER = """
import sys
from pathlib import Path
from pipeline_lib.records import Rollout
from pipeline_lib.store.rollout_files import write_rollout_file
assert "duckdb" not in sys.modules
path, version = Path(sys.argv[1]), 0
print("writing", flush=True)
while True:
    version += 1
    write_rollout_file(path, [
        Rollout("a", "train", version, "m", "s", f"p{i}", i, 5, "stop", None, False, "no_answer", f"{version} " * 50)
        for i in range(200)
    ])
"""


def start(code: str, *arguments: object) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def started(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == line


def kill(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)


def test_rows_of_three_writers_all_land(tmp_path: Path) -> None:
    # The file does not exist yet: the writers also race to create it.
    writers = [start(WRITER, tmp_path, f"run-{number}", 10) for number in range(3)]
    for writer in writers:
        _, errors = writer.communicate(timeout=90)
        assert writer.returncode == 0, errors
    counts = Store(tmp_path).query("SELECT run_id, count(*) FROM difficulty GROUP BY run_id ORDER BY run_id").rows
    assert counts == [("run-0", 10), ("run-1", 10), ("run-2", 10)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "laconic.duckdb",
        "rollouts",
    ]


def test_threads_of_one_process_take_turns(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def work(run_id: str) -> None:
        for index in range(5):
            store.write("difficulty", [DifficultyEstimate(run_id, f"p{index}", 8, 4, 0.5, 1.0)])
            store.query("SELECT count(*) FROM difficulty")

    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(work, [f"run-{number}" for number in range(4)]))
    assert store.query("SELECT count(*) FROM difficulty").rows == [(20,)]


def test_nothing_keeps_the_file_open(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("difficulty", [DifficultyEstimate("a", "p", 8, 4, 0.5, 1.0)])
    store.query("FROM difficulty")
    other = start(
        "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('DELETE FROM difficulty')",
        store.path,
    )
    _, errors = other.communicate(timeout=30)
    assert other.returncode == 0, errors


def test_locked_file_is_one_clear_error_naming_the_holder(tmp_path: Path) -> None:
    Store(tmp_path).schema()
    holder = start(HOLDER, tmp_path / "laconic.duckdb")
    try:
        started(holder, "holding")
        before = time.monotonic()
        with pytest.raises(
            StoreBusyError,
            match=rf"laconic\.duckdb was in use by .*PID {holder.pid}\) for 0\.5 s",
        ):
            Store(tmp_path, lock_wait_seconds=0.5).query("FROM difficulty")
        assert time.monotonic() - before < 5
    finally:
        kill(holder)


def test_lock_held_by_a_thread_is_waited_for_no_longer_than_asked(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path, lock_wait_seconds=0.2)
    store.schema()
    with (
        connect(store.path, read_only=True, wait_seconds=1),
        pytest.raises(StoreBusyError, match="another thread"),
    ):
        store.write("difficulty", [DifficultyEstimate("a", "p", 8, 4, 0.5, 1.0)])


def test_file_that_is_no_database_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "laconic.duckdb").write_bytes(b"not a database" * 1000)
    before = time.monotonic()
    with pytest.raises(OSError, match="cannot be opened"):
        Store(tmp_path).schema()
    assert time.monotonic() - before < 10


def test_killed_writer_leaves_committed_rows(tmp_path: Path) -> None:
    store = Store(tmp_path)
    committed = [DifficultyEstimate("done", f"p{index}", 8, 4, 0.5, 1.0) for index in range(100)]
    store.write("difficulty", committed)
    holder = start(HOLDER, store.path)
    started(holder, "holding")
    kill(holder)
    assert store.query("SELECT run_id, count(*) FROM difficulty GROUP BY run_id").rows == [("done", 100)]
    assert store.write("difficulty", [DifficultyEstimate("later", "p", 8, 4, 0.5, 1.0)]) == 1


def test_half_made_databases_of_killed_processes_are_removed_and_of_others_are_not(tmp_path: Path) -> None:
    path = tmp_path / "laconic.duckdb"
    killed, of_another = (tmp_path / f".{path.name}.{pid}-7.tmp" for pid in (2**22 + 1, 2**22 + 2))
    code = HOLDER.replace('connection.execute("INSERT', '# connection.execute("INSERT')
    for half_made in (killed, of_another):
        holder = start(code, half_made)
        started(holder, "holding")
        if half_made == killed:
            kill(holder)
            Path(f"{killed}.wal").touch()
    assert killed.exists()
    assert Store(tmp_path).named("running_runs") == []
    assert not killed.exists() and not Path(f"{killed}.wal").exists()
    assert of_another.exists()
    kill(holder)


def test_readers_see_whole_files_while_they_are_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = [
        Rollout(
            "a",
            "train",
            0,
            "m",
            "s",
            f"p{i}",
            i,
            5,
            "stop",
            None,
            False,
            "no_answer",
            "x",
        )
        for i in range(200)
    ]
    path = store.write_rollouts(first, "a", "train", "step-1")
    replacer = start(REPLACER, path)
    versions: list[int] = []
    try:
        started(replacer, "writing")
        until = time.monotonic() + 20
        while (len(versions) < 15 or len(set(versions)) < 3) and time.monotonic() < until:
            [row] = store.query("SELECT count(*), min(step), max(step), count(DISTINCT prompt_id) FROM rollouts").rows
            assert row == (200, row[1], row[1], 200)
            versions.append(row[1])
    finally:
        kill(replacer)
    assert versions == sorted(versions)
    assert len(versions) >= 15
    assert len(set(versions)) >= 3


def test_worker_imports_rollout_files_without_duckdb() -> None:
    code = "import sys, pipeline_lib.store.rollout_files; print('duckdb' in sys.modules, 'torch' in sys.modules)"
    output, errors = start(code).communicate(timeout=30)
    assert output.strip() == "False False", errors


def test_database_is_readable_by_duckdb_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("difficulty", [DifficultyEstimate("a", "p", 8, 4, 0.5, 1.0)])
    with duckdb.connect(str(store.path), read_only=True) as connection:
        assert connection.execute("SELECT pass_rate FROM difficulty").fetchall() == [(0.5,)]
        assert connection.execute("SELECT count(*) FROM rollouts").fetchall() == [(0,)]
