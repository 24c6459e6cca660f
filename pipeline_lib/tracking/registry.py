"""The model registry: which version is the champion, where its files lie. Unlike the tracker it raises when MLflow is away."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from pipeline_lib.config import TrackingConfig
from pipeline_lib.files.home import below
from pipeline_lib.files.whole_files import replacing
from pipeline_lib.messages.addresses import full_address, without_password
from pipeline_lib.tracking.connection import DIGEST_TAG, Connection
from pipeline_lib.tracking.conversion import first_line, folder_digest
from pipeline_lib.tracking.limits import Limits


class RegistryUnreachableError(RuntimeError):
    """MLflow did not answer, so nothing was looked up or moved."""


class Registry:
    """The registry that a configuration's [tracking] names. Every method raises RegistryUnreachableError in an outage."""

    def __init__(self, config: TrackingConfig, home: Path) -> None:
        if not config.enabled:
            raise ValueError("tracking.enabled = false: the model registry is MLflow's, so it has to be on")
        address = tracking_address(config, home)
        self.uri = without_password(address, is_address=True)
        self._home = home.resolve()
        self._connection = Connection(address, config.experiment, self._home / "mlartifacts", Limits(config.timeout_seconds))

    def aliases(self, name: str) -> dict[str, int]:
        """The version behind each alias of a model; empty when there is no such model."""
        with self._reaching():
            try:
                model = self._connection.client().get_registered_model(name)
            except Exception as error:
                if _is_absent(error):
                    return {}
                raise
            return {alias: int(version) for alias, version in model.aliases.items()}

    def move_aliases(self, name: str, versions: Mapping[str, int | None]) -> None:
        """Point aliases at versions, in the given order; None takes an alias away. Doing it twice changes nothing."""
        with self._reaching():
            for alias, version in versions.items():
                if version is None:
                    self._connection.client().delete_registered_model_alias(name, alias)
                else:
                    self._connection.client().set_registered_model_alias(name, alias, str(version))

    def version_of(self, name: str, alias: str) -> int:
        """The version behind an alias. Raises ValueError when there is none."""
        aliases = self.aliases(name)
        if alias not in aliases:
            there = ", ".join(f"@{known} (version {version})" for known, version in sorted(aliases.items()))
            raise ValueError(f"models:/{name}@{alias}: no such alias in the registry at {self.uri}; there is {there or 'none'}")
        return aliases[alias]

    def folder(self, name: str, version: int) -> Path:
        """The model folder of a version: where MLflow keeps it if that is on this machine, else a copy in the home, made once.

        Raises ValueError for a version that is not in the registry.
        """
        with self._reaching():
            found = self._find(name, version)
            location = self._connection.client().get_logged_model(found.source.removeprefix("models:/")).artifact_location
        address = urlparse(location)
        if address.scheme in ("", "file") and (Path(unquote(address.path)) / "config.json").is_file():
            return Path(unquote(address.path))
        return self._copy(name, version, found.tags.get(DIGEST_TAG))

    def _find(self, name: str, version: int) -> Any:
        client = self._connection.client()
        try:
            return client.get_model_version(name, str(version))
        except Exception as error:
            if not _is_absent(error):
                raise
            there = sorted(int(known.version) for known in client.search_model_versions(f"name = '{name}'"))
            raise ValueError(
                f"models:/{name}/{version}: no such version in the registry at {self.uri}; "
                + (f"there are {', '.join(map(str, there))}" if there else f"it has no model {name!r}")
            ) from error

    def _copy(self, name: str, version: int, digest: str | None) -> Path:
        folder = below(self._home, "registry", name, str(version))
        if folder.is_dir():
            return folder
        with replacing(folder) as partial:
            with self._reaching():
                self._connection.download_version(name, version, partial)
            if digest not in (None, folder_digest(partial)):
                raise RuntimeError(f"models:/{name}/{version} came from {self.uri} with other files than were registered")
            if not (partial / "config.json").is_file():
                raise ValueError(f"models:/{name}/{version} is no model folder: it holds no config.json")
        return folder

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except ValueError:
            raise
        except Exception as error:
            message = f"the model registry at {self.uri} did not do what was asked: {first_line(error)}"
            raise RegistryUnreachableError(message) from error


def tracking_address(config: TrackingConfig, home: Path) -> str:
    """Where MLflow is, password and all: as configured, as MLFLOW_TRACKING_URI says, else a database in the home."""
    configured = full_address(config.uri) if config.uri else os.environ.get("MLFLOW_TRACKING_URI")
    return configured or f"sqlite:///{home.resolve() / 'mlflow.db'}"


def _is_absent(error: Exception) -> bool:
    return getattr(error, "error_code", None) in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
