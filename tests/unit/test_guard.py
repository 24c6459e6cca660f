"""The guard before the servers, their password, and the names they are called by."""

import asyncio
import base64
import os
from pathlib import Path
from typing import Any

import pytest

from flows.server.addresses import Addresses
from flows.server.environment import prepare_environment
from pipeline_lib.services.guard import Guard, allowed_hosts
from pipeline_lib.services.password import read_password
from pipeline_lib.services.running import note_services, running_services, services_file

PASSWORD = "correct-horse-battery"


def ask(guard_options: dict[str, Any], path: str = "/", kind: str = "http", method: str = "GET", **headers: str) -> Any:
    """Status of a request behind a guard; for a WebSocket the type of the first message. The application must not be reached else."""
    reached: list[str] = []
    sent: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])
        await send(
            {"type": "http.response.start", "status": 200, "headers": []} if kind == "http" else {"type": "websocket.accept"}
        )

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("a refused request was read")

    given = {"host": "127.0.0.1:4200"} | {name.replace("_", "-"): value for name, value in headers.items()}
    scope = {
        **{"type": kind, "method": method, "path": path},
        "headers": [(name.encode(), value.encode()) for name, value in given.items() if value],
    }
    guard = Guard(application, allowed_hosts(), lambda path: path == "/", **guard_options)
    asyncio.run(guard(scope, receive, send))
    outcome = sent[0].get("status", sent[0]["type"])
    assert bool(reached) == (outcome in (200, "websocket.accept"))
    return outcome


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:4200"},
        {"host": "127.0.0.1.evil.example"},
        {"host": ""},
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:8000"},
        {"origin": "http://localhost:4200"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": "http://127.0.0.1:4200.evil.example"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site", "sec_fetch_mode": "no-cors"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_what_comes_from_elsewhere_is_refused_before_it_is_read(headers: dict[str, str], kind: str) -> None:
    assert ask({}, kind=kind, **headers) == (403 if kind == "http" else "websocket.close")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "localhost"},
        {"host": "LOCALHOST:9999", "origin": "http://localhost:9999"},  # an SSH tunnel on another port
        {"host": "[::1]:4200", "origin": "http://[::1]:4200"},
        {"origin": "http://127.0.0.1:4200", "sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_own_pages_and_programs_pass(headers: dict[str, str], kind: str) -> None:
    assert ask({}, kind=kind, **headers) == (200 if kind == "http" else "websocket.accept")


def test_a_link_shows_a_page_and_nothing_else() -> None:
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    assert ask({}, path="/", **link) == 200
    assert ask({}, path="/api/csrf-token", **link) == 403
    assert ask({}, path="/", method="POST", **link) == 403


def test_further_names_are_those_of_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LACONIC_ALLOWED_HOSTS", "prefect, Prefect.Example.org,::1,")
    assert allowed_hosts() == ["prefect", "prefect.example.org", "[::1]"]
    assert ask({}, host="prefect.example.org", origin="https://prefect.example.org") == 200
    assert ask({}, host="127.0.0.1:4200") == 403


def test_the_password_is_asked_for() -> None:
    def basic(words: str) -> str:
        return "Basic " + base64.b64encode(words.encode()).decode()

    guarded = {"password": PASSWORD, "open_paths": ["/health"]}
    assert ask(guarded) == 401
    assert ask(guarded, authorization=basic(f"laconic:{PASSWORD}")) == 200
    for wrong in (
        basic(f"laconic:{PASSWORD}x"),
        basic(f"admin:{PASSWORD}"),
        basic("laconic:"),
        "Basic %",
        f"Bearer {PASSWORD}",
    ):
        assert ask(guarded, authorization=wrong) == 401
    assert ask(guarded, kind="websocket") == "websocket.close"
    assert ask(guarded, path="/health") == 200
    assert ask(guarded, path="/health", host="evil.example") == 403


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "password"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_a_password_file_is_its_owners_alone(tmp_path: Path) -> None:
    assert read_password(written(tmp_path, f"{PASSWORD}\nsecond line\n")) == PASSWORD
    for mode in (0o640, 0o604, 0o660):
        with pytest.raises(ValueError, match=rf"--password-file .* can be read by others \(mode {mode:04o}\): chmod 600"):
            read_password(written(tmp_path, PASSWORD, mode))
    for text in ("", "\n", "short", "with a space in it", "mit Umläuten äöü"):
        with pytest.raises(ValueError, match="--password-file .*at least 12"):
            read_password(written(tmp_path, text))
    with pytest.raises(ValueError, match="--password-file .* cannot be read: No such file"):
        read_password(tmp_path / "none")


CREDENTIALS = (
    "PREFECT_API_URL",
    "MLFLOW_TRACKING_URI",
    "PREFECT_API_AUTH_STRING",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
)


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """What commands set for themselves, undone at the end."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    for name in CREDENTIALS:
        os.environ.pop(name, None)


@pytest.mark.usefixtures("unset")
def test_commands_over_the_home_know_the_password_and_the_note_does_not(home: Path, tmp_path: Path) -> None:
    file = written(tmp_path, PASSWORD)
    note_services(home, [], "http://127.0.0.1:1", "http://127.0.0.1:2", is_ready=True, password_file=file)
    assert PASSWORD not in services_file(home).read_text()
    prepare_environment()
    found = [os.environ[name] for name in CREDENTIALS]
    assert found == ["http://127.0.0.1:1/api", "http://127.0.0.1:2", f"laconic:{PASSWORD}", "laconic", PASSWORD]


@pytest.mark.usefixtures("unset")
def test_a_server_elsewhere_is_not_told_the_password(home: Path, tmp_path: Path) -> None:
    note_services(
        home, [], "http://127.0.0.1:1", "http://127.0.0.1:2", is_ready=True, password_file=written(tmp_path, PASSWORD)
    )
    os.environ |= {"PREFECT_API_URL": "https://elsewhere.example/api", "MLFLOW_TRACKING_URI": "https://elsewhere.example"}
    prepare_environment()
    assert not any(name in os.environ for name in CREDENTIALS[2:])


@pytest.mark.parametrize("text", ["{}", "[]", '{"owner": 1, "services": []}', '{"owner": {"pid": 1}, "services": [2]}', "\0"])
def test_a_damaged_note_of_what_runs_is_none(home: Path, text: str) -> None:
    services_file(home).parent.mkdir(parents=True)
    services_file(home).write_text(text)
    assert running_services(home) is None


@pytest.mark.usefixtures("unset")
def test_a_password_file_that_is_gone_is_said_where_it_is_needed(home: Path, tmp_path: Path) -> None:
    from flows.server.temporary import begin_server

    file = written(tmp_path, PASSWORD)
    note_services(home, [], "http://127.0.0.1:1", "http://127.0.0.1:2", is_ready=True, password_file=file)
    file.unlink()
    prepare_environment()
    with pytest.raises(ValueError, match="--password-file .*password cannot be read"):
        begin_server()


def test_only_names_of_this_machine_are_ours() -> None:
    assert Addresses("127.0.0.1", 1, 2).host_names() == ["127.0.0.1", "localhost", "[::1]"]
    assert Addresses("10.1.2.3", 1, 2).host_names() == ["10.1.2.3"]
    everywhere = Addresses("0.0.0.0", 1, 2)
    assert everywhere.prefect == "http://127.0.0.1:1"
    assert {"127.0.0.1", "localhost"} <= set(everywhere.host_names())
    assert Addresses("::1", 1, 2).mlflow == "http://[::1]:2"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.org", "127.example.org"])
def test_an_address_that_others_reach_needs_a_password(home: Path, host: str) -> None:
    from flows.server.up import bring_up

    with pytest.raises(ValueError, match=f"--host {host} is reached from other machines.*--password-file"):
        bring_up(home, Addresses(host, 1, 2), 1, None, print)
