"""What is told to Prefect through outages of a real socket: a server that is dead, silent, broken, and back again."""

import http.server
import logging
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import prefect.settings  # slow: a first call would take the time for a silence of the server
import pytest
from loopback import free_port

from tasks.outbox import PATIENCE_SECONDS, Outbox, Unreachable


def asked(port: int, path: str) -> str:
    """A call such as Prefect's client makes: an error for a status that is one."""
    import httpx

    answer = httpx.get(f"http://127.0.0.1:{port}/{path}", timeout=60, trust_env=False)
    return answer.raise_for_status().text


@contextmanager
def silent_server() -> Iterator[int]:
    """Accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def server(status: Callable[[], int], seen: list[str], port: int = 0) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_response(status())
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: Any) -> None:
            pass

    socketserver.TCPServer.allow_reuse_address = True
    with socketserver.TCPServer(("127.0.0.1", port), Handler) as listening:
        thread = threading.Thread(target=partial(listening.serve_forever, poll_interval=0.05), daemon=True)
        thread.start()
        yield listening.server_address[1]
        listening.shutdown()


def wait_until(came: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not came():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "tasks.outbox"]


def test_a_silent_server_costs_those_who_tell_it_nothing(caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    monkeypatch.setattr("tasks.outbox.PATIENCE_SECONDS", 0.5)
    outbox = Outbox()
    with caplog.at_level(logging.WARNING, "tasks.outbox"), silent_server() as port:
        started = time.monotonic()
        for step in range(200):
            outbox.put("artifact steps", partial(asked, port, f"steps/{step}"), key="steps")
            outbox.put(f"artifact {step % 3}", partial(asked, port, str(step)), key=step % 3)
        assert time.monotonic() - started < 1.0
        time.sleep(0.6)
        assert outbox.is_away
        started = time.monotonic()
        with pytest.raises(Unreachable):
            outbox.ask("state Completed", partial(asked, port, "state"), seconds=0.5)
        assert time.monotonic() - started < 1.0
        assert set(outbox.end()) == {"artifact steps", "artifact 0", "artifact 1", "artifact 2"}
    assert len(warnings_of(caplog)) == 1
    assert "the work goes on" in warnings_of(caplog)[0]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_that_comes_back_is_told_the_newest_state_of_everything(
    caplog: pytest.LogCaptureFixture, monkeypatch: Any, status: int
) -> None:
    monkeypatch.setattr("tasks.outbox.AGAIN_SECONDS", 0.2)
    outbox, seen, now = Outbox(), list[str](), [status]
    with caplog.at_level(logging.WARNING, "tasks.outbox"), server(lambda: now[0], seen) as port:
        for step in range(20):
            outbox.put("artifact steps", partial(asked, port, f"steps-{step}"), key="steps")
            outbox.put("artifact dynamics", partial(asked, port, f"dynamics-{step}"), key="dynamics")
            time.sleep(0.03)
        wait_until(lambda: outbox.is_away)
        assert len(seen) < 10, "a server that fails is not asked again at each step"
        now[0] = 200
        seen.clear()
        assert outbox.ask("state Completed", partial(asked, port, "state"), seconds=30.0) == "ok"
        assert not outbox.is_away
        assert [path for path in seen if "-19" in path or path == "/state"] == seen[-3:]
        assert sorted(seen[-3:]) == ["/dynamics-19", "/state", "/steps-19"]
        assert outbox.end() == []
    assert warnings_of(caplog)[0].startswith("the Prefect server does not answer")
    assert f"HTTP status {status}" in warnings_of(caplog)[0]
    assert warnings_of(caplog)[1].startswith("the Prefect server answers again")
    assert len(warnings_of(caplog)) == 2


def test_a_dead_server_that_is_started_again_is_found(monkeypatch: Any) -> None:
    monkeypatch.setattr("tasks.outbox.AGAIN_SECONDS", 0.2)
    outbox, seen, port = Outbox(), list[str](), free_port()
    outbox.put("artifact budgets", partial(asked, port, "budgets"))
    wait_until(lambda: outbox.is_away)
    with server(lambda: 200, seen, port):
        wait_until(lambda: not outbox.is_away)
    assert seen == ["/budgets"]


def test_what_a_server_refuses_is_no_outage_and_is_not_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    outbox, seen = Outbox(), list[str]()
    with caplog.at_level(logging.WARNING, "tasks.outbox"), server(lambda: 422, seen) as port:
        outbox.put("artifact wrong", partial(asked, port, "wrong"))
        with pytest.raises(Exception, match="422"):
            outbox.ask("state", partial(asked, port, "state"), seconds=30.0)
        assert not outbox.is_away
        assert seen == ["/wrong", "/state"]
    assert warnings_of(caplog) == ["artifact wrong is not shown in Prefect: HTTP status 422"]


def test_a_call_does_not_read_the_environment_that_others_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_REQUEST_TIMEOUT", "no number")
    retries: int = Outbox().ask("retries", lambda: prefect.settings.get_current_settings().client.max_retries, seconds=30.0)
    assert retries == 1


WITHOUT_A_SLOT = """
import time
import prefect.concurrency.sync
from flows.server.gpu_limit import accelerator_slot
started = time.monotonic()
with accelerator_slot():
    entered = time.monotonic()
print(entered - started, time.monotonic() - entered)
"""


def test_a_dead_server_gives_no_slot_and_costs_seconds() -> None:
    """In a process of its own: an outbox knows of one server."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_SLOT],
        env={**os.environ, "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    entering, leaving = map(float, done.stdout.split())
    assert entering < 3 * PATIENCE_SECONDS and leaving < 1.0
    assert "going on without a slot of the limit 'gpu'" in done.stderr


def test_a_call_that_ends_badly_after_the_end_is_not_named_a_second_time(caplog: pytest.LogCaptureFixture) -> None:
    outbox, begun, may_end, over = Outbox(), threading.Event(), threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        may_end.wait(20)
        over.set()
        raise RuntimeError("the client has been closed")

    with caplog.at_level(logging.WARNING):
        outbox.put("a picture", call)
        assert begun.wait(20)
        assert outbox.end() == ["a picture"]
        may_end.set()
        assert over.wait(20)
        assert outbox.ask("whether it goes on", lambda: "yes", 20) == "yes"
    assert not caplog.records
