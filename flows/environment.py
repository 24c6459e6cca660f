"""Environment of a command: one home for everything, quiet servers, no telemetry. Must run before Prefect is imported."""

import os
from pathlib import Path

from pipeline_lib.config import laconic_home
from pipeline_lib.faults import make_home
from pipeline_lib.services.running import running_services

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    # An error reaches the user as one line; Prefect's page shows the traceback.
    "PREFECT_LOGGING_LOGGERS_PREFECT_FLOW_RUNS_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "CRITICAL",
    # Those of the temporary server: what it cannot do, its client tells.
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    # Starting the temporary server takes 13-18 s on two idle cores, and the engine starts beside it.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "VLLM_NO_USAGE_STATS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

# For a worker and what it runs: the pages show what flows log, which a terminal is spared.
SHOWN = {
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "PREFECT_LOGGING_LEVEL": "INFO",
    "PREFECT_LOGGING_LOGGERS_PREFECT_FLOW_RUNS_LEVEL": "INFO",
    "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "INFO",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,tasks,pipeline_lib",
}


def prepare_environment() -> None:
    """Set what is not set already. A Prefect profile of the user's own is left in charge.

    Raises ValueError for a home that is no folder and cannot be made one.
    """
    home = laconic_home()
    make_home(home)
    os.environ["LACONIC_HOME"] = str(home)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    running = running_services(home)
    if running and running.is_ready:  # `laconic up`: what is run from the command line shows on its pages
        os.environ.setdefault("PREFECT_API_URL", running.prefect_address + "/api")
        os.environ.setdefault("MLFLOW_TRACKING_URI", running.mlflow_address)
    if not (Path.home() / ".prefect" / "profiles.toml").exists():
        os.environ.setdefault("PREFECT_HOME", str(home / "prefect"))
        # Its default is in the user's home whatever PREFECT_HOME says.
        os.environ.setdefault("PREFECT_SERVER_MEMO_STORE_PATH", str(home / "prefect" / "memo_store.toml"))


def server_address() -> str | None:
    """The API of a Prefect server that lasts, which runs report to; None where each command starts a temporary one."""
    return os.environ.get("PREFECT_API_URL")
