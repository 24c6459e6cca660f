"""Bring a store to the current schema: numbered SQL files, each applied once and in a transaction, then the rollouts view."""

import fcntl
import glob
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from string import Template

import duckdb

from pipeline_lib.store.compaction import schema_files, write_schema_file
from pipeline_lib.store.connections import connect, transaction
from pipeline_lib.store.rollout_files import COMPACTED

MIGRATIONS_FOLDER = Path(__file__).parent / "migrations"
VIEW_FILE = Path(__file__).parent / "rollouts_view.sql"


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered SQL file."""

    version: int
    name: str
    sql: str


def load_migrations(folder: Path = MIGRATIONS_FOLDER) -> list[Migration]:
    """Read `<number>_<name>.sql` files in the order of their numbers, which must run from 1 without a gap."""
    migrations = [
        Migration(int(path.name.split("_")[0]), path.name, path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.sql"))
    ]
    assert [migration.version for migration in migrations] == list(range(1, len(migrations) + 1))
    return migrations


def prepare_store(path: Path, rollouts_folder: Path, wait_seconds: float) -> bool:
    """Create the database, or bring it up to date; takes no write lock when there is nothing to do.

    Returns False where only the rollouts view is stale and cannot be made anew: a home that was moved to a read-only place.
    Raises ValueError when the file was made by a newer version of this package.
    """
    if not path.exists():
        _write_schema_files(rollouts_folder)
        _create(path, rollouts_folder, wait_seconds)
        return True
    migrations = load_migrations()
    with connect(path, read_only=True, wait_seconds=wait_seconds) as connection:
        has_tables = _applied_version(connection) == len(migrations)
        has_view = _view_is_current(connection, rollouts_folder)
    has_view = has_view and all(file.exists() for file in schema_files(rollouts_folder))
    if has_tables and has_view:
        return True
    try:
        _write_schema_files(rollouts_folder)
        with connect(path, read_only=False, wait_seconds=wait_seconds) as connection:
            migrate(connection, migrations, rollouts_folder)
    except OSError:
        if not has_tables:
            raise
        return False
    return True


def _write_schema_files(rollouts_folder: Path) -> None:
    for schema_file in schema_files(rollouts_folder):
        if not schema_file.exists():
            write_schema_file(schema_file)


def _create(path: Path, rollouts_folder: Path, wait_seconds: float) -> None:
    # Made under another name and linked into place, so that no process ever opens a half-made file. The first link wins.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    _remove_left_over(path)
    try:
        with connect(temporary, read_only=False, wait_seconds=wait_seconds) as connection:
            migrate(connection, load_migrations(), rollouts_folder)
            # Closing would leave what did not fit to the temporary file's WAL, without a word.
            connection.execute("CHECKPOINT")
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        _remove(temporary)


def _remove_left_over(path: Path) -> None:
    """Remove half-made databases of processes that were killed: DuckDB locks the file that it has open."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        if left.name.startswith(f".{path.name}.{os.getpid()}-"):
            continue  # of another thread, whose lock closing the file here would give up
        with suppress(OSError), open(left, "r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(left)


def _remove(database: Path) -> None:
    database.unlink(missing_ok=True)
    database.with_name(f"{database.name}.wal").unlink(missing_ok=True)


def migrate(connection: duckdb.DuckDBPyConnection, migrations: Sequence[Migration], rollouts_folder: Path) -> None:
    """Apply the migrations that are missing, in order, and make the rollouts view anew where it is missing or stale."""
    applied_version = _applied_version(connection)
    if applied_version > len(migrations):
        raise ValueError(
            f"the store has schema version {applied_version}, this package knows versions up to {len(migrations)}: "
            "use the version of the package that wrote it, or a newer one"
        )
    for migration in migrations[applied_version:]:
        with transaction(connection):
            connection.execute(migration.sql)
            connection.execute("INSERT INTO schema_version (version, name) VALUES (?, ?)", [migration.version, migration.name])
    if not _view_is_current(connection, rollouts_folder):
        for schema_file in schema_files(rollouts_folder):  # which may lack a column that files to come have
            write_schema_file(schema_file)
        with transaction(connection):
            connection.execute(_view_sql(*_glob_literals(rollouts_folder)))


def make_temporary_view(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> None:
    """Let `rollouts` mean certain files for as long as a connection lasts: nothing is written."""
    compacted = [path for path in files if path.parts[-4] == COMPACTED]
    sources = [compacted, [path for path in files if path not in set(compacted)]]
    view, _, _ = _view_sql(*(f"[{', '.join(_literal(str(path)) for path in some)}]" for some in sources)).partition(
        "COMMENT ON"
    )
    _, _, selects = view.partition(" VIEW rollouts AS\n")
    arms = [arm for arm, some in zip(selects.rstrip(";\n").split("UNION ALL"), sources, strict=True) if some]
    connection.execute(f"CREATE OR REPLACE TEMP VIEW rollouts AS {'UNION ALL'.join(arms)}")


def _view_sql(compacted_source: str, rollouts_source: str) -> str:
    template = Template(VIEW_FILE.read_text(encoding="utf-8"))
    return template.substitute(compacted_source=compacted_source, rollouts_source=rollouts_source)


def _applied_version(connection: duckdb.DuckDBPyConnection) -> int:
    if not connection.execute("FROM duckdb_tables() WHERE table_name = 'schema_version'").fetchall():
        return 0
    [(version,)] = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchall()
    return int(version)


def _view_is_current(connection: duckdb.DuckDBPyConnection, rollouts_folder: Path) -> bool:
    rows = connection.execute("SELECT sql FROM duckdb_views() WHERE view_name = 'rollouts'").fetchall()
    return any(all(literal in sql for literal in _glob_literals(rollouts_folder)) for (sql,) in rows)


def _glob_literals(rollouts_folder: Path) -> tuple[str, str]:
    """Of compacted files, and of those that stages write."""
    folder = glob.escape(str(rollouts_folder))
    return _literal(f"{folder}/*/{COMPACTED}/*/*/*.parquet"), _literal(f"{folder}/*/*/*.parquet")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
