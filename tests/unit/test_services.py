"""Services that are watched over: ports, readiness, what is noted of them, and that ending them ends what they started."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline_lib.services.running import (
    ProcessId,
    end_services,
    forget_services,
    note_services,
    running_services,
    services_file,
)
from pipeline_lib.services.service import Service, answers, check_port

# Starts a child that ignores SIGTERM, as servers' own workers may, and says its number.
PARENT = """
import signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def make_service(tmp_path: Path, program: str, ready_address: str | None = None) -> Service:
    return Service("a service", [sys.executable, "-c", program], tmp_path / "log.txt", os.environ, tmp_path, ready_address)


def first_line(path: Path) -> str:
    deadline = time.monotonic() + 20
    while not (path.exists() and "\n" in path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return path.read_text().splitlines()[0]


def test_a_taken_port_is_named_with_its_owner_and_the_option() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            ValueError, match=rf"--prefect-port {port}: the server cannot listen on 127.0.0.1:{port}.*{os.getpid()}"
        ):
            check_port("127.0.0.1", port, "the server", "--prefect-port")
    check_port("127.0.0.1", port, "the server", "--prefect-port")


def test_a_stopped_service_leaves_no_process_of_its_own(tmp_path: Path) -> None:
    service = make_service(tmp_path, PARENT)
    service.start()
    child = psutil.Process(int(first_line(service.log)))
    assert service.is_running
    service.stop(grace_seconds=5.0)
    assert not service.is_running
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_service_that_ends_while_starting_is_an_error_with_its_log(tmp_path: Path) -> None:
    service = make_service(tmp_path, "print('no database there')", ready_address="http://127.0.0.1:9/")
    service.start()
    with pytest.raises(RuntimeError, match="a service ended while starting.*: no database there$"):
        service.wait_until_ready(30.0)


def test_a_service_is_ready_when_its_address_answers(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = f"import http.server as h; h.HTTPServer(('127.0.0.1', {port}), h.SimpleHTTPRequestHandler).serve_forever()"
    service = make_service(tmp_path, program, ready_address=f"http://127.0.0.1:{port}/")
    assert not answers(f"http://127.0.0.1:{port}/")
    service.start()
    try:
        service.wait_until_ready(30.0)
        assert answers(f"http://127.0.0.1:{port}/")
    finally:
        service.stop(2.0)


def test_a_service_ends_with_whoever_watches_over_it(tmp_path: Path) -> None:
    log = tmp_path / "service.txt"
    watcher = f"""
import os, sys, time
from pathlib import Path
from pipeline_lib.services.service import Service
program = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
Service("s", [sys.executable, "-c", program], Path({str(log)!r}), os.environ, Path({str(tmp_path)!r})).start()
time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", watcher])
    service = psutil.Process(int(first_line(log)))
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while service.is_running() and service.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "it outlived a killed watcher"
        time.sleep(0.05)


def test_what_runs_over_a_home_is_noted_and_forgotten(tmp_path: Path) -> None:
    assert running_services(tmp_path) is None
    note_services(tmp_path, [os.getpid()], "http://127.0.0.1:1", "http://127.0.0.1:2", is_ready=True)
    found = running_services(tmp_path)
    assert found is not None
    assert (found.prefect_address, found.mlflow_address, found.is_ready) == ("http://127.0.0.1:1", "http://127.0.0.1:2", True)
    assert found.owner.pid == os.getpid()
    forget_services(tmp_path)
    assert running_services(tmp_path) is None


def test_a_note_of_processes_that_are_gone_counts_for_nothing(tmp_path: Path) -> None:
    note_services(tmp_path, [], "http://127.0.0.1:1", "http://127.0.0.1:2", is_ready=True)
    path = services_file(tmp_path)
    # The number is in use again, by a process that started at another time.
    path.write_text(path.read_text().replace(str(ProcessId.of(os.getpid()).started), "1.0"))
    assert running_services(tmp_path) is None
    assert not end_services(tmp_path)
    assert not path.exists()


def test_a_spoilt_note_counts_for_nothing(tmp_path: Path) -> None:
    services_file(tmp_path).parent.mkdir(parents=True)
    services_file(tmp_path).write_text('{"owner": ')
    assert running_services(tmp_path) is None
