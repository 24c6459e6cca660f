"""Limits on the whole time of a call to MLflow.

Its own limit is one for each read: a server that sends a byte now and then never meets it.
"""

import contextvars
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.05

# A server may store a file elsewhere before it answers.
TRANSFER_TIMEOUT_SECONDS = 600.0
TRANSFER_RETRIES = 2
# A large file is given the time that a slow line needs, so that an upload which moves is not cut off.
SLOWEST_BYTES_PER_SECOND = 64 * 1024
# MLflow's seconds and retries of a request where the user has set none.
MLFLOWS_OWN = (120, 7)

_lock = threading.Lock()
_in_force: dict[object, tuple[int, int]] = {}
_users_own: dict[str, str] = {}


class OverdueError(TimeoutError):
    """A call took longer than it may; whether it was carried out is not known."""


class Limits:
    """How long calls may take: each `call_seconds`, and none beyond the moment that `end_within` sets."""

    def __init__(self, call_seconds: float) -> None:
        self.call_seconds = call_seconds
        self._last_moment = math.inf

    def end_within(self, seconds: float) -> None:
        """Let no call, also of those that are under way, last longer than this."""
        self._last_moment = time.monotonic() + seconds

    def run(self, call: Callable[[], Any], seconds: float | None = None, progress: Callable[[], Any] | None = None) -> Any:
        """What `call` returns, within `seconds` (default: of any call); as long as `progress` changes the time starts anew.

        Raises OverdueError. The call is then left to itself on a thread that does not keep the process from ending: no library
        below can be told to stop reading.
        """
        limit = self.call_seconds if seconds is None else seconds
        done, outcome = threading.Event(), list[tuple[bool, Any]]()
        context = contextvars.copy_context()

        def work() -> None:
            try:
                outcome.append((True, context.run(call)))
            except BaseException as error:
                outcome.append((False, error))
            done.set()

        with _request_limits(math.ceil(limit), 0 if seconds is None else TRANSFER_RETRIES):
            threading.Thread(target=work, daemon=True, name="mlflow-call").start()
            self._wait(done, limit, progress)
        succeeded, result = outcome[0]
        if not succeeded:
            raise result
        return result

    def _wait(self, done: threading.Event, limit: float, progress: Callable[[], Any] | None) -> None:
        started, seen = time.monotonic(), progress() if progress else None
        while not done.wait(min(POLL_SECONDS, limit)):
            now = time.monotonic()
            if now > self._last_moment:
                raise OverdueError("given up, since the command is ending")
            if now - started > limit:
                if progress is None or (newest := progress()) == seen:
                    raise OverdueError(f"no whole answer within {limit:g} s")
                started, seen = now, newest


class LimitedClient:
    """MLflow's client, each of whose calls has the limits' time."""

    def __init__(self, client: Any, limits: Limits) -> None:
        self._client, self._limits = client, limits

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *args, **values: self._limits.run(lambda: method(*args, **values))

    def upload(self, name: str, owner: str, path: Path, *args: Any) -> None:
        """Call a method that sends the file or folder `path`, which may take longer the larger that is."""
        method = getattr(self._client, name)
        seconds = TRANSFER_TIMEOUT_SECONDS + size_bytes(path) / SLOWEST_BYTES_PER_SECOND
        self._limits.run(lambda: method(owner, str(path), *args), seconds)


def size_bytes(path: Path) -> int:
    """The size of a file, or of all files below a folder; 0 when there is none."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


@contextmanager
def _request_limits(timeout_seconds: int, retries: int) -> Iterator[None]:
    """Bound MLflow's HTTP requests (its own limits: two minutes a read, seven retries).

    MLflow takes them from the environment, which all threads share: the widest of what is under way holds for all.
    """
    key = object()
    with _lock:
        if not _in_force:
            # Never taken away again: another thread may be in the middle of copying the environment.
            _users_own.update({name: os.environ.get(name, own) for name, own in _variables(*MLFLOWS_OWN).items()})
        _in_force[key] = (timeout_seconds, retries)
        os.environ.update(_widest())
    try:
        yield
    finally:
        with _lock:
            del _in_force[key]
            if _in_force:
                os.environ.update(_widest())
            else:
                os.environ.update(_users_own)


def _widest() -> dict[str, str]:
    return _variables(max(seconds for seconds, _ in _in_force.values()), max(retries for _, retries in _in_force.values()))


def _variables(timeout_seconds: int, retries: int) -> dict[str, str]:
    return {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout_seconds), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries)}


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
