"""Drives `laconic up` as its users do: in a process of its own, over HTTP, and through the pages in a browser."""

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from driving import LACONIC, REPOSITORY, environment, laconic
from loopback import free_port

from pipeline_lib.processes import descendants

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
CHROMIUM_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
CLIENT = "the-tests"
# Of half a minute each, at most.
TRIES = 4
UNAVAILABLE = 503
FINAL_STATES = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


class Served:
    """A home over which `laconic up` runs."""

    def __init__(self, home: Path, slots: int, password_file: Path | None = None) -> None:
        self.home = home
        self.password = password_file.read_text().strip() if password_file else None
        self._token: dict[str, str] = {}
        self.prefect = f"http://127.0.0.1:{(port := free_port())}"
        self.mlflow = f"http://127.0.0.1:{(mlflow_port := free_port())}"
        self.ports = ("--prefect-port", str(port), "--mlflow-port", str(mlflow_port))
        given = ["--password-file", str(password_file)] if password_file else []
        self.log = home.parent / f"{home.name}-up.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*LACONIC, "up", *self.ports, "--slots", str(slots), *given],
                env=serving_environment(home),
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_up(self) -> None:
        deadline = time.monotonic() + 240
        while "Ctrl-C" not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Prefect's HTTP API; an error's status and text are returned, not raised. What changes something needs a CSRF token.

        Asked again, as Prefect's own client does, where a busy machine's server says that it could not (503: its database was locked)
        or, of what only reads, was silent for too long.
        """
        if method != "GET" and not self._token:
            token = self.call("GET", f"/csrf-token?client={CLIENT}")
            self._token = {"Prefect-Csrf-Token": token.get("token", ""), "Prefect-Csrf-Client": CLIENT}
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **self._token, **self.credentials()}
        request = urllib.request.Request(f"{self.prefect}/api{path}", data, headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        is_reading, tries_left = method == "GET" or path.endswith("/filter"), TRIES
        while True:
            try:
                with opener.open(request, timeout=30) as response:
                    return json.loads(response.read() or b"null")
            except urllib.error.HTTPError as error:
                tries_left -= 1
                if error.code != UNAVAILABLE or not tries_left:
                    return {"status": error.code, "detail": error.read().decode()}
                time.sleep(1.0)
            except TimeoutError:
                tries_left -= 1
                if not tries_left or not is_reading:
                    raise

    def credentials(self) -> dict[str, str]:
        """The header that carries the password, where there is one."""
        given = base64.b64encode(f"laconic:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {given}"} if self.password else {}

    def deployment(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/deployments/name/{name}")
        assert "id" in found, found
        return found

    def start(self, deployment: str, **parameters: Any) -> str:
        """Start a deployment as an HTTP client would; returns the flow run's id."""
        path = f"/deployments/{self.deployment(deployment)['id']}/create_flow_run"
        created = self.call("POST", path, {"parameters": parameters})
        assert "id" in created, created
        return str(created["id"])

    def state(self, flow_run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/flow_runs/{flow_run}")["state"]
        return found

    def wait(self, flow_run: str, seconds: float = 450) -> str:
        """Wait until a flow run has ended; returns the type of its state."""
        deadline = time.monotonic() + seconds
        while (kind := self.state(flow_run)["type"]) not in FINAL_STATES:
            assert time.monotonic() < deadline, f"still {kind}\n{self.logs(flow_run)}"
            time.sleep(0.5)
        return str(kind)

    def logs(self, flow_run: str) -> str:
        lines = self.call("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [flow_run]}}, "sort": "TIMESTAMP_ASC"})
        return "\n".join(line["message"] for line in lines)

    def artifacts(self, flow_run: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call(
            "POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [flow_run]}}}
        )
        return found

    def engine_processes(self) -> list[str]:
        """Every process of the home that is not a server or Prefect's worker itself, with its process group."""
        noted = json.loads((self.home / "services" / "running.json").read_text())
        prefect, mlflow, *worker = [service["pid"] for service in noted["services"]]
        servers = {self.process.pid, *worker}
        for pid in (prefect, mlflow):
            servers |= {pid, *(process.pid for process in descendants(pid))}
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.pid not in servers and process.environ().get("LACONIC_HOME") == str(self.home)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"{process.pid} (group {os.getpgid(process.pid)}): {' '.join(process.cmdline())}")
            except (psutil.Error, ProcessLookupError):
                continue
        return found

    def wait_until_no_engine(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while left := self.engine_processes():
            assert time.monotonic() < deadline, f"left behind: {left}"
            time.sleep(0.2)

    def end(self) -> None:
        laconic(self.home, "down")
        self.process.wait(30)


def serving_environment(home: Path) -> dict[str, str]:
    """Without what a test server of this process has set: `laconic up` brings its own."""
    return {name: value for name, value in environment(home).items() if name not in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")}


@contextmanager
def served(home: Path, slots: int, password_file: Path | None = None) -> Iterator[Served]:
    """`laconic up` over a home; ended with the block, whatever happens in it."""
    up = Served(home, slots, password_file)
    try:
        up.wait_until_up()
        yield up
    finally:
        if up.process.poll() is None:
            up.end()


def keep_screenshot(page: Any, name: str) -> None:
    """Keep a picture of the page for the docs, where LACONIC_SCREENSHOTS names a folder (`make screenshots`)."""
    folder = os.environ.get("LACONIC_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}.png"))
