"""The Prefect server as a program: Prefect's own application behind our guard, with Prefect's own settings.

Settings come from the environment, as for `prefect server start` (PREFECT_SERVER_API_HOST, PREFECT_SERVER_API_PORT …); host names
from LACONIC_ALLOWED_HOSTS, a password from LACONIC_PASSWORD.
"""

import argparse
import os

from pipeline_lib.processes import collect_garbage_rarely, end_without_owner, keep_what_has_come
from pipeline_lib.services.guard import Application, Guard, allowed_hosts
from pipeline_lib.services.password import server_environment

# Prefect's defaults answer every origin; its CSRF tokens are fetched by its clients by themselves.
CLOSED = {
    "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
    # None: the pages come from the address that they call.
    "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "",
    # The browser asks the address it has the page from, whatever name the server is called by.
    "PREFECT_UI_API_URL": "/api",
}
# Connections that are open when the server is terminated; clients of a temporary server have ended before it.
GRACE_SECONDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m flows.server.program")
    parser.add_argument("--temporary-socket", type=int, help="serve a single command, on this inherited socket")
    socket = parser.parse_args().temporary_socket
    collect_garbage_rarely()
    # Before Prefect is imported, which reads them.
    for name, value in (CLOSED | server_environment()).items():
        os.environ.setdefault(name, value)
    if socket is not None:
        # A command that is killed cannot end its server; where the system does not tell it, it sees that its parent is another one.
        command = os.getppid()
        end_without_owner(lambda: os.getppid() == command, 2 * GRACE_SECONDS)
    serve(socket)


def serve(socket: int | None) -> None:
    """Serve on the configured address, or what one command needs (no pages) on an inherited socket."""
    import uvicorn
    from prefect.settings import get_current_settings

    server = get_current_settings().server
    application = create_application(is_temporary=socket is not None)
    keep_what_has_come()
    uvicorn.run(
        application,
        host=server.api.host,
        port=server.api.port,
        fd=socket,
        timeout_keep_alive=server.api.keepalive_timeout,
        ws_ping_interval=server.api.websocket_ping_interval,
        ws_ping_timeout=server.api.websocket_ping_timeout,
        timeout_graceful_shutdown=GRACE_SECONDS,
        log_level="error" if socket is not None else server.logging_level.lower(),
    )


def create_application(is_temporary: bool = False) -> Application:
    from prefect.server.api.server import create_app

    application: Application = create_app(final=True, ephemeral=is_temporary)
    return Guard(application, allowed_hosts(), lambda path: path != "/api" and not path.startswith("/api/"))


if __name__ == "__main__":
    main()
