"""Tracking when the server is down, silent or broken, and when it comes back."""

import logging
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from loopback import dripping_server, free_port

from pipeline_lib.config import TrackingConfig
from pipeline_lib.tracking import Registry, RegistryUnreachableError, Tracker, limits


@pytest.fixture(scope="module", autouse=True)
def _imported_mlflow() -> None:
    """Import mlflow once, so that the timed tests time the outage."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow  # noqa: F401


@contextmanager
def mlflow_server(port: int, folder: Path) -> Iterator[None]:
    """A real MLflow server on a loopback port, ended with its workers."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=folder)
    try:
        _wait_until_healthy(server, f"http://127.0.0.1:{port}/health")
        yield
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(10)


def _wait_until_healthy(server: "subprocess.Popen[bytes]", address: str) -> None:
    for _ in range(240):
        assert server.poll() is None, "the MLflow server ended while starting"
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError("the MLflow server did not start in 120 s")


@pytest.mark.timeout(240)
def test_what_was_logged_in_an_outage_arrives_when_the_server_comes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    tracker = Tracker(TrackingConfig(uri=f"http://127.0.0.1:{port}"), tmp_path / "home")
    started = time.monotonic()
    with caplog.at_level(logging.WARNING, "pipeline_lib.tracking"):
        assert tracker.start_parent("demo", "demo-1", params={"seed": 0}) is None
        assert tracker.start_child(None, "train") is None
        for step in range(1, 6):
            tracker.log_steps(None, [{"step": step, "loss": 1.0 / step, "kl": None}])
        assert tracker.register_model(model, "demo", None) is None
        assert not tracker.flush()
    assert time.monotonic() - started < 5.0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert not tracker.available
    assert tracker.pending == 7

    server_folder = tmp_path / "server"
    server_folder.mkdir()
    with mlflow_server(port, server_folder):
        tracker.log_steps(None, [{"step": 6, "loss": 1.0 / 6}])
        assert tracker.available and tracker.pending == 0
        tracker.finish(None)
        registered = tracker.register_model(model, "demo", None, tags={"laconic.run_id": "demo-1"})
        assert registered and registered.version == 1
        assert_version_is_copied_once(
            Registry(TrackingConfig(uri=f"http://127.0.0.1:{port}"), tmp_path / "home"), tmp_path / "home"
        )
        tracker.finish(None)

        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=f"http://127.0.0.1:{port}")
        parent_id = Tracker(TrackingConfig(uri=f"http://127.0.0.1:{port}"), tmp_path).start_parent("demo", "demo-1")
        experiment = client.get_experiment_by_name("laconic")
        assert experiment
        (child,) = client.search_runs([experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{parent_id}'")
        losses = sorted((point.step, point.value) for point in client.get_metric_history(child.info.run_id, "loss"))
        assert losses == [(step, 1.0 / step) for step in range(1, 7)]
        assert (child.info.status, child.data.tags["laconic.run_id"]) == ("FINISHED", "demo-1")


def assert_version_is_copied_once(registry: Registry, home: Path) -> None:
    """Of a server that hands out its artifacts itself, a version is copied into the home, whole, and then stays."""
    folder = registry.folder("demo", 1)
    assert folder == home / "registry" / "demo" / "1"
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    assert [path.name for path in folder.parent.iterdir()] == ["1"], "something partial was left"
    written = folder.stat().st_mtime_ns
    assert registry.folder("demo", 1) == folder and folder.stat().st_mtime_ns == written


def test_a_silent_server_costs_its_time_limit_once_then_little(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        tracker = Tracker(TrackingConfig(uri=f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=2.0), tmp_path)
        started = time.monotonic()
        tracker.start_parent("demo", "demo-1")
        first_seconds = time.monotonic() - started
        for step in range(20):
            tracker.log_steps(None, [{"step": step, "loss": 0.0}])
        assert first_seconds < 6.0
        assert time.monotonic() - started - first_seconds < 1.0
    assert tracker.pending == 21


def test_a_broken_database_file_is_an_outage_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").write_bytes(b"not a database " * 100)
    tracker = Tracker(TrackingConfig(), tmp_path)
    started = time.monotonic()
    assert tracker.start_parent("demo", "demo-1") is None
    tracker.log_steps(None, [{"step": 1, "loss": 0.5}])
    assert time.monotonic() - started < 2.0
    assert not tracker.available and tracker.pending == 2

    (tmp_path / "mlflow.db").unlink()
    assert tracker.flush() and tracker.available
    parent_id = tracker.start_parent("demo", "demo-1")
    from mlflow import MlflowClient

    points = MlflowClient(tracking_uri=tracker.uri).get_metric_history(parent_id or "", "loss")
    assert [(point.step, point.value) for point in points] == [(1, 0.5)]


def test_without_an_open_run_nothing_waits_for_ever(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = Tracker(TrackingConfig(uri=f"http://127.0.0.1:{free_port()}"), tmp_path)
    tracker.log_summary(None, {"a": 1.0})
    assert tracker.pending == 0
    assert "no MLflow run is open" in caplog.text


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "first", [b"", b"HTTP/1.1 200 OK\r\nX-Header: ", b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"]
)
def test_a_server_that_drips_its_answer_costs_one_time_limit(tmp_path: Path, first: bytes) -> None:
    with dripping_server(first) as (address, _):
        config = TrackingConfig(uri=address, timeout_seconds=1.0)
        tracker = Tracker(config, tmp_path)
        started = time.monotonic()
        assert tracker.start_parent("demo", "demo-1") is None
        assert 1.0 <= time.monotonic() - started < 3.0
        with pytest.raises(RegistryUnreachableError, match="no whole answer within 1 s"):
            Registry(config, tmp_path).aliases("demo")
        tracker.end_within(0.0)
        started = time.monotonic()
        assert not tracker.flush()
        assert time.monotonic() - started < 0.5
        assert tracker.undelivered() == (
            f"1 call was never delivered to MLflow at {address} (given up, since the command is ending): run demo"
        )


def test_an_upload_that_moves_is_not_cut_off_and_one_that_does_not_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    monkeypatch.setattr(limits, "TRANSFER_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(limits, "SLOWEST_BYTES_PER_SECOND", 2**20)
    (tmp_path / "model").write_bytes(bytes(6 * 2**20))

    class Sender:
        def send(self, address: str, path: str) -> None:
            with open(path, "rb") as body:
                requests.put(address, data=body, timeout=60.0).raise_for_status()

    client = limits.LimitedClient(Sender(), limits.Limits(0.1))
    with slow_reader(bytes_per_second=2 * 2**20) as address:
        client.upload("send", address, tmp_path / "model")
    (tmp_path / "small").write_bytes(b"x")
    with dripping_server() as (address, _), pytest.raises(limits.OverdueError):
        client.upload("send", address, tmp_path / "small")


@contextmanager
def slow_reader(bytes_per_second: int) -> Iterator[str]:
    """Address of a server that takes its time to read one request, then says that all is well."""

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
            left = int(re.search(rb"Content-Length: (\d+)", head)[1]) - len(body)  # type: ignore[index]
            while left > 0:
                got = len(connection.recv(2**18))
                left -= got
                time.sleep(got / bytes_per_second)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        threading.Thread(target=answer, args=(listener,), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_an_error_of_the_database_is_an_outage_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker = Tracker(TrackingConfig(timeout_seconds=2.0), tmp_path)
    parent_id = None
    while parent_id is None:  # on a busy machine the first call may take longer
        parent_id = tracker.start_parent("demo", "demo-1")
        assert tracker.flush() or time.sleep(1.0) is None

    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("pragma legacy_alter_table = on")
        for value, fault, mend in (
            (1.0, "alter table latest_metrics rename to away", "alter table away rename to latest_metrics"),
            (2.0, "begin exclusive", "commit"),
        ):
            database.execute(fault)
            tracker.log_summary(parent_id, {"loss": value})
            tracker.log_summary(parent_id, {"accuracy": value})
            assert not tracker.flush() and tracker.pending == 2
            assert "2 calls were never delivered to MLflow" in (tracker.undelivered() or "")
            database.execute(mend)
            assert tracker.flush() and tracker.undelivered() is None
            from mlflow import MlflowClient

            metrics = MlflowClient(tracking_uri=tracker.uri).get_run(parent_id).data.metrics
            assert metrics == {"loss": value, "accuracy": value}
