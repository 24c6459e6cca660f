"""The temporary Prefect server of a single command: closed to others, and gone with its command, however that ends."""

import os
import signal
import subprocess
import time
from pathlib import Path

import httpx
import psutil
import pytest
from driving import LACONIC, REPOSITORY, environment, laconic, processes_of

from pipeline_lib.services.service import answers

# Needs a flow, and no engine: no worker would notice that the command is gone.
COMMAND = ("rollback", "nothing")
ENDS = {signal.SIGTERM: "terminated", signal.SIGINT: "interrupted"}


def server_of(command: subprocess.Popen[bytes]) -> tuple[psutil.Process, str]:
    """The temporary server of a command and its API, as soon as that answers."""
    deadline = time.monotonic() + 120
    while True:
        for child in psutil.Process(command.pid).children():
            try:
                ports = [each.laddr.port for each in child.net_connections() if each.status == psutil.CONN_LISTEN]
            except psutil.Error:
                continue
            for port in ports:
                if answers(f"http://127.0.0.1:{port}/api/health"):
                    return child, f"http://127.0.0.1:{port}/api"
        assert command.poll() is None, "the command ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.05)


# SIGTERM: also test_pipeline.py's terminated run, and integration/test_homes.py's line and status.
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_the_server_ends_with_its_command_and_answers_nobody_else(home: Path, number: signal.Signals) -> None:
    without = {name: value for name, value in environment(home).items() if name != "PREFECT_API_URL"}
    command = subprocess.Popen(
        [*LACONIC, *COMMAND], env=without, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    server, api = server_of(command)
    if number == signal.SIGKILL:
        foreign = [{"Origin": "http://evil.example"}, {"Origin": "http://localhost:1"}, {"Host": "evil.example"}]
        refused = [httpx.get(f"{api}/health", headers=headers, trust_env=False).status_code for headers in foreign]
        # Another user of this machine has no password.
        refused.append(httpx.get(f"{api}/csrf-token?client=x", trust_env=False).status_code)
        refused.append(httpx.post(f"{api}/flow_runs/filter", json={}, trust_env=False).status_code)
        assert refused == [403, 403, 403, 401, 403]
    os.killpg(command.pid, number)  # as a terminal does
    told = time.monotonic()
    _, said = command.communicate(timeout=30)
    if number != signal.SIGKILL:
        assert time.monotonic() - told < 5.0, "and a second on a machine that does nothing else"
        assert command.returncode == 128 + number
        assert said == f"laconic: {ENDS[number]}; the same command resumes from what is stored\n"
    psutil.wait_procs([server], timeout=10)
    assert not server.is_running()
    assert not processes_of(home)


@pytest.mark.parametrize("arguments", [("check", "configs/smoke.toml"), ("sql", "select 1 as one"), ("results", "nothing")])
def test_a_command_without_a_flow_starts_no_server(home: Path, arguments: tuple[str, ...]) -> None:
    laconic(home, *arguments, check=False)
    assert not (home / "services" / "temporary.log").exists()
