"""A Prefect server that dies, hangs, fails or starts again while a command works: the work is as without the fault."""

import http.server
import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from driving import LACONIC, QUICK, REPOSITORY, sql, wait_until_no_process_is_left
from loopback import free_port
from serving import serving_environment

from flows.server.gpu_limit import LIMIT
from flows.server.outages import tell_ends

TIMES = ("tokens_per_second", "generation_seconds", "update_seconds", "sync_seconds", "other_seconds", "checkpoint_seconds")
ROWS = {
    "training_steps": "select * from training_steps order by step",
    "rollouts": "select stage, step, prompt_id, sample_index, text, correct, reward from rollouts order by all",
    "budget_results": "select * from budget_results order by all",
    "checkpoints": "select step, is_best, model_version from checkpoints order by step",
    "stages": "select stage, unit from stage_results order by all",
    "runs": "select run_id, status, error, mlflow_run_id is not null as is_tracked from runs",
}
# A file that is there when a stage has begun.
MOMENTS = {
    "profile": "training/*/profile-prompts.json",
    "train": "training/*/steps/step-00002.json",
    "evaluate": "training/*/benchmark-tiny-sum.json",
    "report": "reports/*/*.png",
}
# What the fault may cost in all, and by how much a machine's load changes from one run to the next.
COST_SECONDS, NOISE_FACTOR = 20.0, 2.5


class PrefectServer:
    """A real server in a process group of its own, over a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.address = f"http://127.0.0.1:{self.port}/api"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        variables = {
            "PREFECT_HOME": str(self.folder),
            "PREFECT_SERVER_MEMO_STORE_PATH": str(self.folder / "memo.toml"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": str(self.port),
            "DO_NOT_TRACK": "1",
        }
        kept = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(command, env=kept | variables, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 240
        while not self.answers():
            assert self.process.poll() is None and time.monotonic() < deadline, (self.folder / "server.log").read_text()
            time.sleep(0.2)

    def answers(self) -> bool:
        import httpx

        try:
            return httpx.get(f"{self.address}/health", timeout=2, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def end(self) -> None:
        if self.process and self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.process.wait(20)

    def make_limit(self) -> None:
        """Of which every run holds a slot; one whose server dies gives it back a minute later."""
        import httpx

        limit = {"name": LIMIT, "limit": 20, "active": True}
        assert httpx.post(f"{self.address}/v2/concurrency_limits/", json=limit, timeout=20, trust_env=False).is_success

    def state(self, flow_run: str) -> str:
        import httpx

        return str(httpx.get(f"{self.address}/flow_runs/{flow_run}", timeout=20, trust_env=False).json()["state"]["type"])


class Command:
    """`laconic run` of a short training that reports to a server; None: to a temporary one of its own."""

    def __init__(self, home: Path, server: PrefectServer | None) -> None:
        home.mkdir()
        self.home, self.log = home, home.parent / f"{home.name}.log"
        self.started = time.monotonic()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*LACONIC, "run", str(REPOSITORY / "configs/smoke.toml"), *QUICK],
                env=serving_environment(home) | ({"PREFECT_API_URL": server.address} if server else {}),
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a process group, as a terminal makes one
            )

    def wait_until(self, stage: str) -> None:
        deadline = time.monotonic() + 400
        while not list(self.home.glob(MOMENTS[stage])):
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def finish(self) -> float:
        """Seconds that it took, when it did its work."""
        assert self.process.wait(400) == 0, self.log.read_text()
        return time.monotonic() - self.started

    def flow_run(self) -> str:
        return str(sql(self.home, "select prefect_flow_run_id as id from runs")[0]["id"])


def rows_of(home: Path) -> dict[str, list[dict[str, Any]]]:
    """What a run has stored, without the seconds of its steps."""
    found = {name: sql(home, query) for name, query in ROWS.items()}
    found["training_steps"] = [
        {key: value for key, value in row.items() if key not in TIMES} for row in found["training_steps"]
    ]
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    running = PrefectServer(tmp_path_factory.mktemp("prefect"))
    running.start()
    running.make_limit()
    yield running
    running.end()


@pytest.fixture(scope="module")
def unbroken(quick_run: tuple[Path, float]) -> tuple[float, dict[str, list[dict[str, Any]]]]:
    """Seconds and rows of a run with nothing wrong."""
    home, seconds = quick_run
    rows = rows_of(home)
    assert [row["step"] for row in rows["training_steps"]] == [1, 2, 3, 4, 5, 6]
    return seconds, rows


def check_that_nothing_was_lost(command: Command, unbroken: tuple[float, dict[str, list[dict[str, Any]]]]) -> None:
    seconds = command.finish()
    assert rows_of(command.home) == unbroken[1]
    assert sql(command.home, "select status from runs") == [{"status": "completed"}]
    assert seconds < NOISE_FACTOR * unbroken[0] + COST_SECONDS
    lines = [line for line in command.log.read_text().splitlines() if "Prefect" in line and "starting" not in line]
    assert len(lines) == 2, command.log.read_text()
    assert "does not answer" in lines[0] and "the work goes on" in lines[0]
    assert "not shown there: " in lines[1] and "the final state Completed" in lines[1]
    assert "artifact" in lines[1].replace("smoke", "")
    assert not any(word in command.log.read_text() for word in ("Traceback", "ERROR", "leaked"))


def told(command: Command, server: PrefectServer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a later command tells the server that is there again; with the state that it then has."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    assert server.state(command.flow_run()) == "RUNNING"
    with temporary_settings({PREFECT_API_URL: server.address}):
        lines = tell_ends(command.home)
        assert tell_ends(command.home) == []
    return [*lines, server.state(command.flow_run())]


@pytest.mark.timeout(600)
def test_a_server_killed_in_mid_training_costs_two_lines_and_no_work(
    server: PrefectServer, unbroken: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Command(tmp_path / "killed", server)
    command.wait_until("train")
    server.end()
    check_that_nothing_was_lost(command, unbroken)
    server.start()
    lines = told(command, server, monkeypatch)
    assert len(lines) == 2 and "marked as Completed" in lines[0]
    assert lines[1] == "COMPLETED"


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["profile", "evaluate", "report"])
def test_a_server_killed_in_another_stage(server: PrefectServer, unbroken: Any, tmp_path: Path, moment: str) -> None:
    command = Command(tmp_path / moment, server)
    command.wait_until(moment)
    try:
        server.end()
        check_that_nothing_was_lost(command, unbroken)
    finally:
        server.start()


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["profile", "train"])
def test_a_server_that_hangs(server: PrefectServer, unbroken: Any, tmp_path: Path, moment: str, monkeypatch: Any) -> None:
    command = Command(tmp_path / moment, server)
    command.wait_until(moment)
    server.signal(signal.SIGSTOP)
    try:
        check_that_nothing_was_lost(command, unbroken)
    finally:
        server.signal(signal.SIGCONT)
    time.sleep(1)
    if list(command.home.glob("prefect/untold/*")) and server.state(command.flow_run()) == "RUNNING":
        assert told(command, server, monkeypatch)[-1] == "COMPLETED"
    assert server.state(command.flow_run()) == "COMPLETED"


@pytest.mark.slow
def test_a_server_that_answers_only_with_errors(server: PrefectServer, unbroken: Any, tmp_path: Path) -> None:
    command = Command(tmp_path / "broken", server)
    command.wait_until("train")
    server.end()
    try:
        with failing_server(server.port):
            check_that_nothing_was_lost(command, unbroken)
    finally:
        server.start()


@pytest.mark.slow
def test_a_server_that_starts_again_is_shown_the_newest_state(server: PrefectServer, unbroken: Any, tmp_path: Path) -> None:
    import httpx

    command = Command(tmp_path / "restarted", server)
    command.wait_until("train")
    server.end()
    command.process.send_signal(signal.SIGSTOP)  # the rest of the run would be over before a server has started
    server.start()
    command.process.send_signal(signal.SIGCONT)
    command.finish()
    assert rows_of(command.home) == unbroken[1]
    assert server.state(command.flow_run()) == "COMPLETED"
    chosen = {"artifacts": {"flow_run_id": {"any_": [command.flow_run()]}}}
    found = httpx.post(f"{server.address}/artifacts/filter", json=chosen, timeout=20, trust_env=False).json()
    shown = {artifact["key"]: artifact for artifact in found}
    assert "step 6 of 6" in shown["smoke-training-steps"]["description"]
    assert json.loads(shown["smoke-budgets"]["data"])
    assert "not shown there" not in command.log.read_text()


@pytest.mark.slow
def test_the_temporary_server_of_a_command_is_killed(unbroken: Any, tmp_path: Path) -> None:
    command = Command(tmp_path / "temporary", None)
    command.wait_until("train")
    [server] = [each for each in psutil.Process(command.process.pid).children() if "flows.server.program" in each.cmdline()]
    server.kill()
    check_that_nothing_was_lost(command, unbroken)


def check_that_it_ends(command: Command, number: int, words: str) -> None:
    """Told to end as a terminal tells it."""
    os.killpg(command.process.pid, number)
    started = time.monotonic()
    assert command.process.wait(60) == 128 + number, command.log.read_text()
    assert time.monotonic() - started < 8.0, "five seconds, on a machine that does nothing else"
    *before, last = [line for line in command.log.read_text().splitlines() if "laconic: " in line or "WARNING" in line]
    assert last == f"laconic: {words}; the same command resumes from what is stored"
    assert len(before) <= 2 and "Traceback" not in command.log.read_text()
    assert sql(command.home, "select status from runs") == [{"status": "cancelled"}]
    wait_until_no_process_is_left(command.home)


@pytest.mark.slow
def test_a_cancelled_run_ends_in_time_though_the_server_hangs(server: PrefectServer, tmp_path: Path) -> None:
    command = Command(tmp_path / "cancelled", server)
    command.wait_until("train")
    server.signal(signal.SIGSTOP)
    try:
        check_that_it_ends(command, signal.SIGTERM, "terminated")
    finally:
        server.signal(signal.SIGCONT)


@pytest.mark.slow
def test_ctrl_c_reaches_a_command_and_not_its_temporary_server(tmp_path: Path) -> None:
    command = Command(tmp_path / "interrupted", None)
    command.wait_until("train")
    check_that_it_ends(command, signal.SIGINT, "interrupted")


@contextmanager
def failing_server(port: int) -> Iterator[None]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def fail(self) -> None:
            self.send_response(500)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = fail

        def log_message(self, *_: Any) -> None:
            pass

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", port), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield
        listening.shutdown()
