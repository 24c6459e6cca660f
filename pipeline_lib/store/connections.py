"""Short DuckDB connections: wait for the file lock, open, yield, close.

DuckDB lets one process write, or several read, and refuses everyone else at once. So nothing here keeps the file open, and
opening waits its turn, between processes by trying again and between threads of this process by a lock.
"""

import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import duckdb

from pipeline_lib.messages.faults import one_line

FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.1
# By default a query that names a remote file or an unknown format downloads code and runs it.
SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "allow_community_extensions": False,
}

# Of the file, not of a statement; a checksum that does not match is a plain duckdb.Error.
FILE_ERRORS = (
    duckdb.IOException,
    duckdb.TransactionException,
    duckdb.FatalException,
    duckdb.InternalException,
    duckdb.SerializationException,
)

_registry_lock = threading.Lock()
_thread_locks: dict[Path, threading.Lock] = {}


class StoreBusyError(TimeoutError):
    """The database file stayed in use by someone else for the whole waiting time."""


@contextmanager
def connect(path: Path, read_only: bool, wait_seconds: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the database for the length of a `with` block, timestamps in UTC.

    Raises StoreBusyError after `wait_seconds` without the lock, OSError in one line when the file cannot be read or written,
    or is damaged.
    """
    deadline = time.monotonic() + wait_seconds
    with _registry_lock:
        thread_lock = _thread_locks.setdefault(path.resolve(), threading.Lock())
    if not thread_lock.acquire(timeout=wait_seconds):
        raise StoreBusyError(f"{path} was in use by another thread of this process for {wait_seconds:g} s")
    try:
        connection = _open(path, read_only, wait_seconds, deadline)
        try:
            # Closing writes, too.
            with closing(connection):
                connection.execute("SET TimeZone = 'UTC'")
                yield connection
        except duckdb.Error as error:
            if isinstance(error, FILE_ERRORS) or type(error) is duckdb.Error:
                raise OSError(f"{path}: {one_line(str(error))}") from error
            raise
    finally:
        thread_lock.release()


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit at the end of the `with` block, roll back when it raises."""
    connection.begin()
    try:
        yield
    except BaseException:
        with suppress(duckdb.Error):  # a full disk closes the transaction by itself
            connection.rollback()
        raise
    connection.commit()


def _open(path: Path, read_only: bool, wait_seconds: float, deadline: float) -> duckdb.DuckDBPyConnection:
    pause_seconds = FIRST_PAUSE_SECONDS
    while True:
        try:
            return duckdb.connect(str(path), read_only=read_only, config=SETTINGS)
        except duckdb.Error as error:
            message = one_line(str(error))
            if "Could not set lock" not in message and "different configuration" not in message:
                raise OSError(f"{path} cannot be opened: {message}") from error
            if time.monotonic() >= deadline:
                raise StoreBusyError(f"{path} was in use by {_holder(message)} for {wait_seconds:g} s") from error
        time.sleep(pause_seconds * random.uniform(0.5, 1.0))
        pause_seconds = min(1.5 * pause_seconds, LONGEST_PAUSE_SECONDS)


def _holder(message: str) -> str:
    if "different configuration" in message:
        return "another connection of this process"
    match = re.search(r"held in (.+?\(PID \d+\))", message)
    return match.group(1) if match else "another process"
