"""`laconic up`: a Prefect server, an MLflow server and a Prefect worker over one home, watched over until they are terminated."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil

from flows.server.addresses import Addresses
from flows.server.environment import SHOWN
from flows.server.termination import FLOW_RUN_VARIABLE
from pipeline_lib.config.shipped import PROJECT
from pipeline_lib.processes import descendants, python_path
from pipeline_lib.services.guard import HOSTS_VARIABLE, USER
from pipeline_lib.services.password import PASSWORD_VARIABLE, mlflow_credentials, prefect_credentials, read_password
from pipeline_lib.services.running import forget_services, note_services, running_services
from pipeline_lib.services.service import Service

SERVER_SECONDS = 180.0  # a first start migrates two databases
FLOW_GRACE_SECONDS = 25.0
SERVICE_GRACE_SECONDS = 10.0
RESTART_SECONDS = 5.0
WATCH_SECONDS = 0.5


def default_slots() -> int:
    """Flows that may use an engine at once: one where there is a GPU (flows are not assigned cards), else one for two CPU cores."""
    return 1 if any(Path("/dev").glob("nvidia[0-9]*")) else max(1, (os.cpu_count() or 1) // 2)


def bring_up(home: Path, addresses: Addresses, slots: int, password_file: Path | None, say: Callable[[str], None]) -> None:
    """Start everything over a home and watch over it until SIGINT or SIGTERM.

    Raises ValueError for a port or home in use, and for an address that other machines would reach without a password.
    """
    password = _check(home, addresses, password_file)
    environment = _environment(home, addresses)
    if password:
        environment |= prefect_credentials(password) | mlflow_credentials(password)
    os.environ.update(environment)  # for the client calls of this process
    services = _services(home, addresses, environment, password)
    note = partial(
        note_services, home, prefect_address=addresses.prefect, mlflow_address=addresses.mlflow, password_file=password_file
    )
    prefect, mlflow, worker = services
    with told_to_end() as told:
        try:
            for service in (prefect, mlflow):
                say(f"starting {service.name} ...")
                service.start()
            note([prefect.pid, mlflow.pid], is_ready=False)
            for service in (prefect, mlflow):
                _wait(service, told)
            from flows.server.deploy import register_deployments
            from flows.server.reconcile import reconcile_home

            say("registering the work pool, the gpu limit and the deployments ...")
            names = register_deployments(home, slots)
            reconcile_home(home, say)
            worker.start()
            note([service.pid for service in services], is_ready=True)
            say(
                f"\nPrefect   {addresses.prefect}\nMLflow    {addresses.mlflow}\nhome      {home}\nlogs      {home / 'services'}\n"
                f"{len(names)} deployments: {', '.join(names)}\n"
                f"{slots} flow{'s' if slots > 1 else ''} at once may use an engine (the gpu limit).\n"
                f"{_who_may_enter(password_file)}\n"
                "Ctrl-C, or 'laconic down' elsewhere, ends all of it."
            )
            _watch(services, home, note, told, say)
        except _ToldToEnd:
            pass
        finally:
            say("ending flows, worker and servers ...")
            if worker.is_running:
                end_flows(worker.pid)
            for service in (worker, mlflow, prefect):
                service.stop(SERVICE_GRACE_SECONDS)
            forget_services(home)


def _check(home: Path, addresses: Addresses, password_file: Path | None) -> str | None:
    """The password, if there is to be one."""
    if not (addresses.is_loopback or password_file):
        raise ValueError(
            f"--host {addresses.host} is reached from other machines, and whoever reaches the servers can run commands here: "
            "give --password-file FILE as well, or 127.0.0.1 and an SSH tunnel (docs/security.md)"
        )
    running = running_services(home)
    if running:
        raise ValueError(
            f"{home} is up already (process {running.owner.pid}, {running.prefect_address}): 'laconic down' ends it"
        )
    addresses.check()
    return read_password(password_file) if password_file else None


class _ToldToEnd(Exception):
    """SIGINT or SIGTERM came while something was being waited for."""


@contextmanager
def told_to_end() -> Iterator[list[int]]:
    """A list that a signal puts its number into."""
    told: list[int] = []
    watch = signal.set_wakeup_fd(-1)  # servers and flows have longer to end than a command
    before = {number: signal.signal(number, lambda n, _: told.append(n)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(watch)


def _wait(service: Service, told: list[int]) -> None:
    deadline = time.monotonic() + SERVER_SECONDS
    while True:
        if told:
            raise _ToldToEnd
        try:
            service.wait_until_ready(timeout_seconds=1.0)
            return
        except RuntimeError:
            if not service.is_running or time.monotonic() > deadline:
                raise


def _watch(services: list[Service], home: Path, note: Callable[..., None], told: list[int], say: Callable[[str], None]) -> None:
    """Until terminated: start again what ended by itself, and reconcile the runs that it left."""
    from flows.server.outages import tell_ends_in_time
    from flows.server.reconcile import reconcile_home

    while not told:
        time.sleep(WATCH_SECONDS)
        for line in tell_ends_in_time(home):
            say(line)
        for service in services:
            if service.is_running or told:
                continue
            say(
                f"{service.name} ended by itself (exit {service.process.poll() if service.process else None}); starting it again"
            )
            service.stop(0.0)  # what it left behind
            _sleep(RESTART_SECONDS, told)
            if told:
                return
            if service is services[-1]:  # the worker: with a server gone, flows may still run
                try:
                    reconcile_home(home, say)
                except Exception as error:  # what is wrong with one old run must not end what runs now
                    say(f"what the worker left could not be reconciled: {error}")
            service.start()
            _wait(service, told)
            note([each.pid for each in services], is_ready=True)


def _sleep(seconds: float, told: list[int]) -> None:
    deadline = time.monotonic() + seconds
    while not told and time.monotonic() < deadline:
        time.sleep(WATCH_SECONDS)


def end_flows(worker_pid: int) -> None:
    """Tell the flows of a worker to end, while the servers they report to are still there."""
    flows = [process for process in descendants(worker_pid) if _is_flow(process)]
    for process in flows:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    psutil.wait_procs(flows, timeout=FLOW_GRACE_SECONDS)


def _is_flow(process: psutil.Process) -> bool:
    try:
        return "prefect.engine" in process.cmdline() and FLOW_RUN_VARIABLE in process.environ()
    except psutil.Error:
        return False


def _environment(home: Path, addresses: Addresses) -> dict[str, str]:
    prefect_home = home / "prefect"
    prefect_home.mkdir(parents=True, exist_ok=True)
    return {
        **os.environ,
        "LACONIC_HOME": str(home),
        "PREFECT_HOME": str(prefect_home),
        "PREFECT_SERVER_MEMO_STORE_PATH": str(prefect_home / "memo_store.toml"),
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(prefect_home / "storage"),
        "PREFECT_API_URL": f"{addresses.prefect}/api",
        "PREFECT_SERVER_API_HOST": addresses.host,
        "PREFECT_SERVER_API_PORT": str(addresses.prefect_port),
        HOSTS_VARIABLE: ",".join([*addresses.host_names(), *os.environ.get(HOSTS_VARIABLE, "").split(",")]),
        **SHOWN,
        "MLFLOW_TRACKING_URI": addresses.mlflow,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONPATH": python_path(),
        "PYTHONUNBUFFERED": "1",
    }


def _who_may_enter(password_file: Path | None) -> str:
    if password_file:
        return f"Every page and program is asked for the user name {USER} and the password in {password_file}."
    return "Any program of this machine may use the servers, other web sites' pages may not (docs/security.md)."


def _services(home: Path, addresses: Addresses, environment: dict[str, str], password: str | None) -> list[Service]:
    from flows.server.deploy import POOL

    logs, python = home / "services", [sys.executable, "-m"]
    artifacts = home / "mlartifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    # Artifacts are read and written in place, so that the same home serves with and without the server.
    mlflow = [
        *(*python, "pipeline_lib.tracking.database", str(home / "mlflow.db"), str(artifacts)),
        *(*python, "mlflow", "server", "--app-name", "laconic", "--workers", "1"),
        *("--host", addresses.host, "--port", str(addresses.mlflow_port)),
        *("--backend-store-uri", f"sqlite:///{home / 'mlflow.db'}"),
        *("--default-artifact-root", artifacts.as_uri(), "--no-serve-artifacts"),
    ]
    worker = [*python, "prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", "laconic"]
    prefect = [*python, "flows.server.program"]
    closed = environment | ({PASSWORD_VARIABLE: password} if password else {})
    return [
        Service("the Prefect server", prefect, logs / "prefect.log", closed, PROJECT, f"{addresses.prefect}/api/health"),
        Service("the MLflow server", mlflow, logs / "mlflow.log", closed, PROJECT, f"{addresses.mlflow}/health"),
        Service("the worker", worker, logs / "worker.log", environment, PROJECT),
    ]
