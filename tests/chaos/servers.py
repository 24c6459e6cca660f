"""The servers around a campaign: a Prefect server that lasts and can be hurt, and trackers that are ill in four ways."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from commands import REPOSITORY
from loopback import free_port

START_SECONDS = 180.0


class PrefectServer:
    """A Prefect server of the campaign's own: starting one costs a command 13-18 s."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}/api"

    def ensure(self) -> None:
        """Start it, again where a round has ended it."""
        if self._process is not None and self._process.poll() is None:
            self.go_on()
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "LACONIC"))}
        settings = {
            "PREFECT_HOME": str(self._folder),
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": str(self._port),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_MEMO_STORE_PATH": str(self._folder / "memo_store.toml"),
            "PREFECT_SERVER_UI_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "prefect", "server", "start"],
                env={**inherited, **settings},
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until_healthy(self._process, self.address + "/health")

    def kill(self) -> None:
        """kill -9 of the server and what it started."""
        self._signal(signal.SIGKILL)
        if self._process:
            self._process.wait(30)

    def stop(self) -> None:
        """It takes connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """The end of `stop`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


def wait_until_healthy(server: "subprocess.Popen[bytes]", address: str) -> None:
    """Raises RuntimeError when a server ends, or does not answer in time."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"no server answers at {address}")


class IllTracker:
    """Something at the tracker's address: `refuses`, is `silent`, `drips` a byte a second or answers `error` 500."""

    def __init__(self, illness: str) -> None:
        self._illness = illness
        self._over = threading.Event()
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        if illness != "refuses":
            self._socket.listen(64)
            self._socket.settimeout(0.2)
            threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        self._over.set()
        self._socket.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            with suppress(OSError):
                connection, _ = self._socket.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            if self._illness == "error":
                connection.sendall(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\nConnection: close\r\n\r\nill\n")
                return
            if self._illness == "drips":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
            while not self._over.wait(1.0):
                if self._illness == "drips":
                    connection.sendall(b" ")


@contextmanager
def mlflow_server(home: Path, folder: Path, port: int) -> Iterator[None]:
    """A real MLflow server over a home's own database."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", f"{home}/mlartifacts"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "LACONIC"))}
    settings = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONPATH": str(REPOSITORY),
    }
    with (folder / "mlflow.log").open("wb") as log:
        server = subprocess.Popen(
            command, env={**inherited, **settings}, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_until_healthy(server, f"http://127.0.0.1:{port}/health")
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait(30)
