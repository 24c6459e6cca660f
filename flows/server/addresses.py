"""Where the servers of `laconic up` listen, and under which names they are called."""

import socket
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address

import psutil

from pipeline_lib.services.guard import LOOPBACK, bracketed
from pipeline_lib.services.service import check_port

ANY_ADDRESS = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the servers listen."""

    host: str
    prefect_port: int
    mlflow_port: int

    @property
    def prefect(self) -> str:
        """Base address of the Prefect server; its API is below /api."""
        return f"http://{self._name}:{self.prefect_port}"

    @property
    def mlflow(self) -> str:
        return f"http://{self._name}:{self.mlflow_port}"

    @property
    def _name(self) -> str:
        """What this machine calls them by."""
        return LOOPBACK[0] if self.host in ANY_ADDRESS else bracketed(self.host)

    @property
    def is_loopback(self) -> bool:
        with suppress(ValueError):
            return ip_address(self.host).is_loopback
        return self.host == "localhost"

    def host_names(self) -> list[str]:
        """The names that a client may call them by, without ports: those of other machines would be a trick (DNS rebinding)."""
        if self.host in ANY_ADDRESS:
            found = [address for addresses in psutil.net_if_addrs().values() for address in addresses]
            own = [each.address.partition("%")[0] for each in found if each.family in (socket.AF_INET, socket.AF_INET6)]
            return list(dict.fromkeys([*LOOPBACK, *map(bracketed, own), socket.gethostname().lower()]))
        return list(dict.fromkeys([*(LOOPBACK if self.is_loopback else ()), bracketed(self.host).lower()]))

    def check(self) -> None:
        """Raise ValueError when a port is taken."""
        if self.prefect_port == self.mlflow_port:
            raise ValueError(f"--prefect-port and --mlflow-port are both {self.prefect_port}: choose two")
        check_port(self.host, self.prefect_port, "the Prefect server", "--prefect-port")
        check_port(self.host, self.mlflow_port, "the MLflow server", "--mlflow-port")
