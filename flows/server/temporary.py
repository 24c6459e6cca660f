"""The temporary Prefect server of a single command, where no server lasts: started at once, so that it starts beside the engine.

It ends with the command, even with one that is killed.
"""

import atexit
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.server.environment import server_address
from flows.server.termination import termination_requested
from pipeline_lib.config import laconic_home
from pipeline_lib.config.shipped import PROJECT
from pipeline_lib.processes import python_path
from pipeline_lib.services.guard import HOSTS_VARIABLE
from pipeline_lib.services.password import PASSWORD_VARIABLE, prefect_credentials, read_password
from pipeline_lib.services.running import running_services
from pipeline_lib.services.service import Service

START_SECONDS = 180.0  # 13-18 s on two idle cores, and the engine starts beside it
GRACE_SECONDS = 10.0
HURRIED_SECONDS = 1.0  # its database bears a kill

_server: Service | None = None


def begin_server() -> None:
    """Start a temporary server, unless there is one already or one that lasts; does not wait for it.

    From the main thread: the system ends the server when the thread that started it ends.
    """
    global _server
    if _server is not None:
        return
    if server_address():
        _check_password()
        return
    # Other users of the machine reach the loopback interface, too.
    password = secrets.token_hex(24)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
        _server = _service(listening.fileno(), address, password)
        _server.start()
    server = _server
    atexit.register(lambda: server.stop(HURRIED_SECONDS if termination_requested() else GRACE_SECONDS))
    os.environ |= {"PREFECT_API_URL": address, **prefect_credentials(password)}
    if "prefect" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


def _service(listening: int, address: str, password: str) -> Service:
    environment = {
        **os.environ,
        PASSWORD_VARIABLE: password,
        HOSTS_VARIABLE: "127.0.0.1",
        "PREFECT_UI_ENABLED": "false",
        "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",  # which no flow of ours uses
        "PYTHONPATH": python_path(),
    }
    command = [sys.executable, "-m", "flows.server.program", "--temporary-socket", str(listening)]
    log = laconic_home() / "services" / "temporary.log"
    name = "the temporary Prefect server"
    return Service(name, command, log, environment, PROJECT, ready_address=f"{address}/health", inherited=(listening,))


def _check_password() -> None:
    """Raise ValueError when `laconic up` runs over this home with a password that cannot be read any more."""
    running = running_services(laconic_home())
    if running and running.password_file and "PREFECT_API_AUTH_STRING" not in os.environ:
        read_password(Path(running.password_file))


def wait_for_server() -> None:
    """Wait until the temporary server answers, where there is one. Raises RuntimeError with the end of its log when it does not."""
    if _server is not None:
        _server.wait_until_ready(START_SECONDS)


@contextmanager
def server_starting() -> Iterator[None]:
    """Begin a temporary server where none lasts, and wait for it at the end of the block, which imports the flow meanwhile."""
    begin_server()
    yield
    wait_for_server()


def is_temporary() -> bool:
    """Whether this process reports to a temporary server of its own."""
    return _server is not None
