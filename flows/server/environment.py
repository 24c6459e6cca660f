"""Environment of a command: one home for everything, quiet servers, no telemetry. Must run before Prefect is imported."""

import os
from contextlib import suppress
from pathlib import Path

from pipeline_lib.config import laconic_home
from pipeline_lib.messages.faults import make_home
from pipeline_lib.services.password import PASSWORD_VARIABLE, mlflow_credentials, prefect_credentials, read_password
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
    _reach_servers(home)
    if not (Path.home() / ".prefect" / "profiles.toml").exists():
        os.environ.setdefault("PREFECT_HOME", str(home / "prefect"))
        # Their defaults are in the user's home whatever PREFECT_HOME says.
        os.environ.setdefault("PREFECT_SERVER_MEMO_STORE_PATH", str(home / "prefect" / "memo_store.toml"))
        os.environ.setdefault("PREFECT_RESULTS_LOCAL_STORAGE_PATH", str(home / "prefect" / "storage"))


def _reach_servers(home: Path) -> None:
    """Addresses of what `laconic up` runs, whose pages show what the command line runs; and the password, to nobody else."""
    running = running_services(home)
    password = os.environ.get(PASSWORD_VARIABLE)
    if running and running.password_file:
        with suppress(ValueError):  # what needs no server, such as `laconic down`, needs no password
            password = read_password(Path(running.password_file))
    addresses: dict[str, str | None] = {"PREFECT_API_URL": None, "MLFLOW_TRACKING_URI": None}
    if running and running.is_ready:
        addresses = {"PREFECT_API_URL": running.prefect_address + "/api", "MLFLOW_TRACKING_URI": running.mlflow_address}
    for (variable, address), credentials in zip(addresses.items(), (prefect_credentials, mlflow_credentials), strict=True):
        if address is not None:
            os.environ.setdefault(variable, address)
        if password and address in (None, os.environ.get(variable)):
            for name, value in credentials(password).items():
                os.environ.setdefault(name, value)


def server_address() -> str | None:
    """The API of a Prefect server that lasts, which runs report to; None where each command starts a temporary one."""
    if address := os.environ.get("PREFECT_API_URL"):
        return address
    if not _is_prefect_set_up():
        return None
    from prefect.settings import get_current_settings  # slow to import: only where its answer is not known

    return get_current_settings().api.url


def _is_prefect_set_up() -> bool:
    """Whether there is a file in which a user may have told Prefect of a server."""
    profiles = os.environ.get("PREFECT_PROFILES_PATH", Path(os.environ.get("PREFECT_HOME", "~/.prefect")) / "profiles.toml")
    words = {profiles: "", "prefect.toml": "", "pyproject.toml": "[tool.prefect", ".env": "PREFECT_"}
    files = [(Path(file).expanduser(), word) for file, word in words.items()]
    return any(file.is_file() and word in file.read_text(encoding="utf-8", errors="replace") for file, word in files)
