"""The password of the servers: a file that only its owner can read."""

import os
import stat
from pathlib import Path

from pipeline_lib.services.guard import USER

# Read by the servers and, where it is set, by every command: what a container is given.
PASSWORD_VARIABLE = "LACONIC_PASSWORD"
LEAST_LETTERS = 12


def read_password(file: Path) -> str:
    """The first line of a file. Raises ValueError when others can read the file, or when it holds no password that can be used."""
    try:
        mode = file.stat().st_mode
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"--password-file {file} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}"
        ) from error
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ValueError(f"--password-file {file} can be read by others (mode {stat.S_IMODE(mode):04o}): chmod 600 {file}")
    password = lines[0].strip() if lines else ""
    if len(password) < LEAST_LETTERS or not all("!" <= letter <= "~" for letter in password):
        raise ValueError(
            f"--password-file {file}: its first line is the password, at least {LEAST_LETTERS} letters, digits or other signs of "
            "ASCII without a space (openssl rand -hex 24)"
        )
    return password


def server_environment() -> dict[str, str]:
    """What Prefect's server reads the password of LACONIC_PASSWORD from; nothing where there is none."""
    password = os.environ.get(PASSWORD_VARIABLE)
    return {"PREFECT_SERVER_API_AUTH_STRING": f"{USER}:{password}"} if password else {}


def prefect_credentials(password: str) -> dict[str, str]:
    """What Prefect's clients read the password from."""
    return {"PREFECT_API_AUTH_STRING": f"{USER}:{password}"}


def mlflow_credentials(password: str) -> dict[str, str]:
    """What MLflow's clients read the password from."""
    return {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": password}
