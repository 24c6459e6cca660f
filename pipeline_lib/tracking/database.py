"""MLflow's SQLite file in the home: made whole or not at all.

MLflow makes its tables in some fifty steps in the file itself, and a file in which that was cut short is of no use to it ever after.
"""

import fcntl
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import unquote

# What a new database holds before anything was tracked.
INITIAL_ROWS = {"alembic_version": 1, "experiments": 1, "workspaces": 1}
# SQLite keeps a number for whoever uses the file, and MLflow does not use it: this one says that it was made whole.
WHOLE = 1
COPY_PREFIX = "_alembic_tmp_"  # of the table that takes another's place in a step


def database_path(uri: str) -> Path | None:
    """The SQLite file that an address names; None when it names something else."""
    return Path(unquote(uri.removeprefix("sqlite:///"))) if uri.startswith("sqlite:///") else None


def prepare_database(path: Path, artifact_folder: Path) -> None:
    """Make the file if there is none, or if an earlier try was cut short before it held anything.

    Raises OSError when there is a file that cannot be read as a database.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not _is_empty(path):
        return
    with _making(path):
        if path.exists() and not _is_empty(path):  # another process was first
            return
        fresh = path.with_name(f".{path.name}.new")
        for file in _with_side_files(fresh):
            file.unlink(missing_ok=True)
        _make(fresh, artifact_folder)
        if path.exists() and _tables(path) == _tables(fresh):
            fresh.unlink()  # whole, with nothing in it yet: a server may have it open
            return
        for file in _with_side_files(path)[1:]:  # SQLite would take them for those of the new file
            file.unlink(missing_ok=True)
        os.replace(fresh, path)


def _make(path: Path, artifact_folder: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(f"sqlite:///{path}", artifact_folder.as_uri())
    store.engine.dispose()
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {WHOLE}")


def _is_empty(path: Path) -> bool:
    """Whether a database holds nothing and is not known to be whole: its making may have been cut short."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as database:
            if database.execute("PRAGMA user_version").fetchone() == (WHOLE,):
                return False
            names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return not any(_holds_more(database, name) for name in names)
    except sqlite3.Error as error:
        remedy = "restore it from a backup, or move it away: a new one is made"
        raise OSError(f"{path}: {error} ({remedy})") from error


def _holds_more(database: sqlite3.Connection, table: str) -> bool:
    [(count,)] = database.execute(f'SELECT count(*) FROM (SELECT 1 FROM "{table}" LIMIT 2)')
    return bool(count > INITIAL_ROWS.get(table.removeprefix(COPY_PREFIX), 0))


def _tables(path: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as database:
        tables = database.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()
        has_version = any(name == "alembic_version" for name, _ in tables)
        return [*tables, *(database.execute("SELECT * FROM alembic_version").fetchall() if has_version else [])]


def _with_side_files(path: Path) -> list[Path]:
    return [path, *(path.with_name(path.name + suffix) for suffix in ("-journal", "-wal", "-shm"))]


@contextmanager
def _making(path: Path) -> Iterator[None]:
    """One process at a time makes the file; a lock ends with its process, however that ends."""
    with open(path.with_name(f".{path.name}.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":  # FILE ARTIFACT_FOLDER COMMAND...: make the file, then become the server that works on it
    prepare_database(Path(sys.argv[1]), Path(sys.argv[2]))
    os.execv(sys.argv[3], sys.argv[3:])
