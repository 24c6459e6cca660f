"""The services of docker/compose.yaml as plain processes: their commands and settings, with SQLite in place of Postgres."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from driving import REPOSITORY, processes_of, wait_until_no_process_is_left
from loopback import free_port

from pipeline_lib.services.service import Service

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((REPOSITORY / "docker" / "compose.yaml").read_text())["services"]
PASSWORD = "offered-in-the-env-file"
HEALTHCHECK = [sys.executable, str(REPOSITORY / "docker" / "healthcheck.py")]


class Stand:
    """The Prefect server of the compose file, and what its other services are given."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.port = free_port()
        settings = self.settings_of("prefect") | {
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'server.db'}",
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": str(self.port),
            "PREFECT_HOME": str(folder / "prefect"),
            "LACONIC_HOME": str(folder / "none"),  # not one of the home's processes
        }
        words = [sys.executable, *SERVICES["prefect"]["command"][1:]]
        health = f"http://127.0.0.1:{self.port}/api/health"
        self.server = Service("Prefect", words, folder / "prefect.log", settings, folder, health)

    def settings_of(self, service: str) -> dict[str, str]:
        """Its environment, with names of services and variables filled in as on one machine."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
        own = {
            name: re.sub(r"\$\{\w+(?::[-?]([^}]*))?\}", lambda found: found[1] or "", str(value))
            .replace("http://prefect:4200", f"http://127.0.0.1:{self.port}")
            .replace("http://mlflow:5000", "http://127.0.0.1:9")
            for name, value in SERVICES[service]["environment"].items()
        }
        own["LACONIC_PASSWORD"] = PASSWORD
        return {**inherited, **own, "LACONIC_HOME": str(self.home), "PYTHONPATH": str(REPOSITORY)}

    def command_of(self, service: str) -> list[str]:
        words = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word) for word in SERVICES[service]["command"]]
        return [sys.executable, "-m", "flows.cli", *words]

    def healthy(self) -> bool:
        return subprocess.run(HEALTHCHECK, env=self.settings_of("worker"), capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    stand = Stand(tmp_path_factory.mktemp("containers"))
    stand.server.start()
    stand.server.wait_until_ready(timeout_seconds=180)
    yield stand
    stand.server.stop(grace_seconds=10)


def test_deployments_are_registered_then_the_worker_is_healthy_until_it_is_told_to_end(stand: Stand) -> None:
    assert not stand.healthy()
    done = subprocess.run(
        stand.command_of("deployments"),
        env=stand.settings_of("deployments"),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pipeline" in done.stdout
    worker = subprocess.Popen(stand.command_of("worker"), env=stand.settings_of("worker"), cwd=REPOSITORY)
    try:
        deadline = time.monotonic() + 120
        while not stand.healthy():
            assert worker.poll() is None
            assert time.monotonic() < deadline
            time.sleep(1.0)
        assert processes_of(stand.home)
    finally:
        worker.send_signal(signal.SIGTERM)
    # Within the container's grace period, with its flows and itself ended.
    assert worker.wait(30) == 0
    wait_until_no_process_is_left(stand.home)


def test_a_container_that_runs_one_command_is_healthy() -> None:
    without = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    assert subprocess.run(HEALTHCHECK, env=without, check=False).returncode == 0
