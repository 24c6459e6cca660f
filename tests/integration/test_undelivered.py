"""Commands that MLflow does not answer: what they say at their end, what the same command then sends, and how soon they end."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from loopback import dripping_server

from pipeline_lib.store.database import Store

REPOSITORY = Path(__file__).resolve().parents[2]
PROBLEMS = [{"id": f"p{n}", "problem": f"{n}+1", "answer": str(n + 1), "rate": 0.9} for n in range(4)]


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """Of a filter from recorded pass rates: no model runs."""
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(problem) + "\n" for problem in PROBLEMS))
    source = f'{{name = "own", kind = "file", path = "{path}", pass_rate_field = "rate", pass_rate_tries = 8}}'
    return ["filter", "configs/smoke.toml", "--set", f"prompts={source}", "--set", "profile.origin=recorded"]


def start(home: Path, arguments: list[str], tracking: str | None) -> "subprocess.Popen[str]":
    from prefect.settings import get_current_settings

    environment = {**os.environ, "LACONIC_HOME": str(home), "PREFECT_API_URL": str(get_current_settings().api.url)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    environment |= {"MLFLOW_TRACKING_URI": tracking} if tracking else {}
    command = [sys.executable, "-m", "flows.cli", *arguments]
    return subprocess.Popen(command, env=environment, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def statuses(home: Path) -> list[str]:
    return [str(status) for (status,) in Store(home).query("select status from runs").rows]


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.timeout(240)
def test_what_was_never_delivered_is_said_with_exit_status_1_and_sent_by_the_same_command(
    home: Path, arguments: list[str]
) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        command = start(home, arguments, address)
        _, errors = command.communicate()
    assert command.returncode == 1
    (last,) = [line for line in errors.splitlines() if line.startswith("laconic: ")]
    assert f"calls were never delivered to MLflow at {address}" in last
    assert "stage profile" in last and "the same command sends what is missing" in last
    assert statuses(home) == ["completed"]

    again = start(home, arguments, None)
    output, errors = again.communicate()
    assert again.returncode == 0, errors
    assert "skipped: True" in output
    assert not list((home / "tracking").iterdir())
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        found = database.execute(
            "select value, status, (select count(*) from metrics m where m.run_uuid = r.run_uuid and key like 'num_%') "
            "from runs r join tags t on t.run_uuid = r.run_uuid where t.key = 'laconic.stage' order by value"
        ).fetchall()
    assert [row[:2] for row in found] == [("filter", "FINISHED"), ("profile", "FINISHED"), ("run", "FINISHED")]
    assert found[0][2] >= 2 and found[1][2] == 1


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.timeout(240)
def test_told_to_end_while_a_tracker_drips_a_command_ends_within_5_s(home: Path, arguments: list[str]) -> None:
    with dripping_server() as (address, asked):
        command = start(home, [*arguments, "--set", "tracking.timeout_seconds=120"], address)
        assert asked.wait(120)
        command.send_signal(signal.SIGTERM)
        told = time.monotonic()
        _, errors = command.communicate()
        assert time.monotonic() - told < 5.0, errors
    assert command.returncode == 128 + signal.SIGTERM
    lines = errors.splitlines()
    assert lines[-1] == "laconic: terminated; the same command resumes from what is stored"
    assert len(lines) <= 2, errors  # MLflow is given up, and no library lists what it has not freed
    assert statuses(home) == ["cancelled"]
