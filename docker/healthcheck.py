"""Health of a worker's container: the Prefect server has heard from the worker of this machine. Standard library only."""

import base64
import json
import os
import socket
import sys
import urllib.request
from typing import Any


def main() -> int:
    """0 when healthy. A container without PREFECT_API_URL runs one command, not a worker."""
    api = os.environ.get("PREFECT_API_URL")
    if not api:
        return 0
    name = socket.gethostname()
    token = call(f"{api}/csrf-token?client={name}")
    headers = {"Prefect-Csrf-Token": token["token"], "Prefect-Csrf-Client": name, "Content-Type": "application/json"}
    workers = call(f"{api}/work_pools/laconic/workers/filter", b"{}", headers)
    healthy = any(worker["name"] == name and worker["status"] == "ONLINE" for worker in workers)
    print(f"worker {name}: {'online' if healthy else 'not heard from'}")
    return 0 if healthy else 1


def call(address: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
    """The answer of Prefect's API: GET, or POST with a body."""
    request = urllib.request.Request(address, body, headers or {})
    if password := os.environ.get("LACONIC_PASSWORD"):
        request.add_header("Authorization", "Basic " + base64.b64encode(f"laconic:{password}".encode()).decode())
    with urllib.request.urlopen(request, timeout=4) as response:
        return json.load(response)


if __name__ == "__main__":
    sys.exit(main())
