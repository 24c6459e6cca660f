"""MLflow's server behind our guard: what `mlflow server --app-name laconic` serves.

Apart from `tracking/`: the image of the servers holds Prefect and MLflow and nothing else that this library needs.
"""

import os

from pipeline_lib.services.guard import Application, Guard, allowed_hosts
from pipeline_lib.services.password import PASSWORD_VARIABLE


def create_application() -> Application:
    """The application. Host names are read from LACONIC_ALLOWED_HOSTS, a password from LACONIC_PASSWORD.

    MLflow's own check lets every page on any port of this machine write; it stays on behind ours, so it has to know our names.
    """
    hosts = allowed_hosts()
    # Square brackets are a pattern to MLflow.
    names = [name.replace("[", "[[]", 1) for name in hosts]
    os.environ["MLFLOW_SERVER_ALLOWED_HOSTS"] = ",".join([*hosts, *(f"{name}:*" for name in names)])
    origins = [f"{scheme}://{name}{port}" for name in names for scheme in ("http", "https") for port in ("", ":*")]
    os.environ["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] = ",".join(origins)
    from mlflow.server.fastapi_app import app

    # Its pages are all below one address; the rest of a link is told to the browser only.
    return Guard(app, hosts, lambda path: path == "/", os.environ.get(PASSWORD_VARIABLE), open_paths=["/health"])
