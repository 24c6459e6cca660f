"""One long-running process: started with a log of its own, known to be ready by its address, ended with all it started."""

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from pipeline_lib.processes import end_in_order, end_with_this_process

POLL_SECONDS = 0.2
LAST_WORD_CHARACTERS = 300


@dataclass
class Service:
    """A process to be kept running. `ready_address` answers with HTTP 200 when it is up; None: ready when started.

    `inherited` are file descriptors that it takes over.
    """

    name: str
    command: list[str]
    log: Path
    environment: Mapping[str, str]
    folder: Path
    ready_address: str | None = None
    inherited: tuple[int, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start it in a session of its own: Ctrl-C reaches whoever watches over it, who ends things in order."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=dict(self.environment),
                start_new_session=True,
                preexec_fn=end_with_this_process(),
                pass_fds=self.inherited,
            )

    @property
    def pid(self) -> int:
        """Its process id; it must have been started."""
        assert self.process, f"{self.name} has not been started"
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def wait_until_ready(self, timeout_seconds: float) -> None:
        """Wait until its address answers. Raises RuntimeError with the end of its log when it ends first or takes longer."""
        deadline = time.monotonic() + timeout_seconds
        while self.ready_address and not answers(self.ready_address):
            if not self.is_running:
                raise RuntimeError(f"{self.name} ended while starting; {self.log_tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not answer within {timeout_seconds:g} s; {self.log_tail()}")
            time.sleep(POLL_SECONDS)

    def log_tail(self) -> str:
        """Its log's last word, in one line, and where the rest is."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n") if self.log.exists() else []
        last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
        return f"its last word in {self.log}: {last[:LAST_WORD_CHARACTERS]}"

    def stop(self, grace_seconds: float) -> None:
        """Ask it to end, then end it and every process it started."""
        if self.process is not None:
            end_in_order(self.process, grace_seconds)


def answers(address: str) -> bool:
    """Whether an address answers with HTTP 200 within a second or so."""
    try:
        # No proxy: the address is on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(address, timeout=2.0) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False


def check_port(host: str, port: int, name: str, option: str) -> None:
    """Raise ValueError when a port is taken, naming who has it where that can be seen."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ValueError(
                f"{option} {port}: {name} cannot listen on {host}:{port}{_owner(port)} ({error.strerror}); "
                f"end what uses it, or choose another with {option}"
            ) from error


def _owner(port: int) -> str:
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f", used by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""
