"""The store of a home folder: idempotent writes by key, SQL over everything, rollouts as Parquet files read in place."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_args

import duckdb

from pipeline_lib.files.home import below
from pipeline_lib.files.whole_files import replacing, write_whole
from pipeline_lib.records import Rollout, Stage
from pipeline_lib.store.compaction import (
    ROW_GROUP_ROWS,
    Switch,
    compactable,
    complete_switches,
    cut_after,
    merge,
    pending_switches,
)
from pipeline_lib.store.connections import StoreBusyError, connect, transaction
from pipeline_lib.store.damaged_files import find_damaged, rewrite_schema_files, rollout_paths, warn_of_damaged
from pipeline_lib.store.migrate import make_temporary_view, prepare_store
from pipeline_lib.store.read_only_sql import check_reads_only, in_words
from pipeline_lib.store.rollout_files import owner_of, stage_files, write_rollout_file
from pipeline_lib.store.schema import TableSchema, read_schema
from pipeline_lib.store.upsert import check_columns, merge_sql, upsert_rows

QUERIES_FOLDER = Path(__file__).parent / "queries"
DATABASE_NAME = "laconic.duckdb"

Parameters = Mapping[str, Any] | Sequence[Any] | None
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class QueryResult:
    """Rows of a query, with the columns' names and DuckDB types."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[tuple[Any, ...]]


class Store:
    """Tables in `<home>/laconic.duckdb`, rollouts as Parquet in `<home>/rollouts/<run_id>` (`rollout_files`).

    Every method opens the database, does its work and closes it. When another process has it open, the method waits up to
    `lock_wait_seconds` and then raises StoreBusyError. The first use creates the store, or brings it up to date.
    """

    def __init__(self, home: Path, lock_wait_seconds: float = 60.0) -> None:
        self.home = Path(home).expanduser().resolve()
        self.path = self.home / DATABASE_NAME
        self.rollouts_folder = self.home / "rollouts"
        self._lock_wait_seconds = lock_wait_seconds
        self._prepared = self._has_view = False
        self._warned_of: set[Path] = set()

    def write(self, table: str, rows: Sequence[Any]) -> int:
        """Upsert records or mappings by primary key in one transaction; returns the number of keys written.

        A row may give only some columns: the others keep their value where the key exists. Raises ValueError for an unknown
        table or column, a missing key column, or a value that the column does not take.
        """
        if not rows:
            return 0
        with self._connection(read_only=False) as connection, transaction(connection):
            return upsert_rows(connection, _table(connection, table), rows)

    def replace(self, table: str, where: Mapping[str, Any], rows: Sequence[Any]) -> int:
        """Delete the rows whose columns equal `where` and write `rows`, in one transaction; returns the keys written."""
        if not where:
            raise ValueError(f"replace({table!r}): an empty `where` would delete the whole table")
        with self._connection(read_only=False) as connection, transaction(connection):
            schema = _table(connection, table)
            condition, parameters = _equals(schema, where)
            connection.execute(f"DELETE FROM {table} WHERE {condition}", parameters)
            return upsert_rows(connection, schema, rows)

    def copy_rows(self, table: str, from_run_id: str, to_run_id: str, where: Mapping[str, Any] | None = None) -> int:
        """Write a copy of one run's rows (those equal to `where`) under another run_id; returns how many."""
        with self._connection(read_only=False) as connection, transaction(connection):
            schema = _table(connection, table)
            condition, parameters = _equals(schema, {**(where or {}), "run_id": from_run_id})
            parameters["to_run_id"] = to_run_id
            source = f"(SELECT * REPLACE ($to_run_id AS run_id) FROM {table} WHERE {condition})"
            [(count,)] = connection.execute(merge_sql(schema, list(schema.types), source), parameters).fetchall()
            return int(count)

    def query(self, sql: str, parameters: Parameters = None, timeout_seconds: float = 30.0) -> QueryResult:
        """Answer one statement of a user's SQL that only reads.

        Writers have to wait meanwhile, hence the timeout. Raises ValueError for SQL that is refused, fails or takes longer.
        """
        check_reads_only(sql)

        def answer(connection: duckdb.DuckDBPyConnection) -> QueryResult:
            with _user_sql(connection, timeout_seconds):
                return _run(connection, sql, parameters)

        return self._read(answer)

    def named(self, name: str, /, **parameters: Any) -> list[dict[str, Any]]:
        """Run `queries/<name>.sql`; a row is a dict, its JSON columns decoded.

        Raises ValueError for an unknown name, or when the parameters are not those that the query names with `$`.
        """
        path = QUERIES_FOLDER / f"{name}.sql"
        if not path.is_file():
            names = sorted(path.stem for path in QUERIES_FOLDER.glob("*.sql"))
            raise ValueError(f"no query named {name!r}; there are {', '.join(names)}")
        text = path.read_text(encoding="utf-8")

        def answer(connection: duckdb.DuckDBPyConnection) -> QueryResult:
            try:
                return _run(connection, text, parameters or None)
            except duckdb.InvalidInputException as error:
                raise ValueError(f"query {name!r} with parameters {sorted(parameters)}: {error}") from error

        result = self._read(answer, lambda file: _is_about(file, text, parameters))
        rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
        json_columns = [column for column, kind in zip(result.columns, result.types, strict=True) if kind == "JSON"]
        for row in rows:
            row.update({column: json.loads(row[column]) for column in json_columns if row[column] is not None})
        return rows

    def write_rollouts(self, rollouts: Sequence[Rollout], run_id: str, stage: Stage, name: str) -> Path:
        """Write the rollouts of one unit of a stage (a shard, a step) as a file; the same name again replaces it."""
        for rollout in rollouts:
            assert (rollout.run_id, rollout.stage) == (run_id, stage), "a rollout of another run or stage"
        return write_rollout_file(below(self._rollout_folder(run_id, stage), f"{name}.parquet"), rollouts)

    def delete_rollout_files(self, run_id: str, stage: Stage, keep_prefixes: Sequence[str] = ()) -> None:
        """Delete the files whose name (as given to `write_rollouts`) starts with none of `keep_prefixes`."""
        self._complete_switches()
        for path in stage_files(self._rollout_folder(run_id, stage)):
            if not path.stem.startswith(tuple(keep_prefixes)):
                path.unlink(missing_ok=True)

    def delete_rollouts_after(self, run_id: str, step: int) -> None:
        """Delete the rollouts of training steps after `step`."""
        for switch in cut_after(self._rollout_folder(run_id, "train"), step):
            self._make(switch)

    def compact(self, run_id: str, stage: Stage, at_least: int = 2, last_step: int | None = None) -> int:
        """Make few large files of those of a stage, if there are `at_least` so many; returns how many are gone.

        Whoever calls it holds the run. Of a training that goes on, steps up to `last_step`. Queries see each row once at any time.
        """
        folder = self._rollout_folder(run_id, stage)
        if sum(1 for _ in folder.glob("*.parquet")) < at_least:
            return 0
        parts = compactable(folder, last_step)
        for files in parts:
            self._make(merge(folder, files))
        return sum(map(len, parts)) - len(parts)

    def _make(self, switch: Switch) -> None:
        """Make a switch while nobody reads or writes."""
        try:
            with self._connection(read_only=False):
                switch.make(self.rollouts_folder)
        except StoreBusyError:
            switch.forget()
            raise

    def export(
        self, folder: Path, only_tables: Sequence[str] | None = None, only_runs: Sequence[str] | None = None
    ) -> list[Path]:
        """Write tables and views as `<name>.parquet`, and their description as `schema.json`; returns the paths.

        All of them unless `only_tables` says which; of tables with a run_id only the rows of `only_runs`, if given. For other
        programs, and for DuckDB before 2.0, which cannot read this database file. Raises ValueError for an unknown table.
        """
        folder = Path(folder)
        tables = self.schema()
        unknown = sorted(set(only_tables or ()) - set(tables))
        if unknown:
            raise ValueError(f"no table or view {unknown[0]!r}; there are {', '.join(tables)}")
        tables = {name: table for name, table in tables.items() if only_tables is None or name in only_tables}
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for name, table in tables.items():
            path = folder / f"{name}.parquet"
            runs = only_runs if "run_id" in table.types else None
            self._read(partial(_write_parquet, table=name, path=path, only_runs=runs))
            paths.append(path)
        description = folder / "schema.json"
        tree = {"tables": [asdict(table) for table in tables.values()]}
        write_whole(description, json.dumps(tree, indent=2, ensure_ascii=False))
        return [*paths, description]

    def schema(self) -> dict[str, TableSchema]:
        """Describe every table and view by name: columns, types, comments, keys."""
        return self._read(read_schema)

    def _rollout_folder(self, run_id: str, stage: str) -> Path:
        if stage not in get_args(Stage):
            raise ValueError(f"stage = {stage!r} has no rollouts; {', '.join(get_args(Stage))} do")
        return below(self.rollouts_folder, run_id, stage)

    def _read(
        self, answer: Callable[[duckdb.DuckDBPyConnection], Answer], is_needed: Callable[[Path], bool] = lambda _: False
    ) -> Answer:
        """Answer from the store; where rollout files are damaged, without them, unless one of them `is_needed`."""
        try:
            with self._connection(read_only=True) as connection:
                return answer(connection)
        except (duckdb.Error, OSError, ValueError) as error:
            found = find_damaged(self.rollouts_folder, error)
            if not found:
                raise
        damaged = rewrite_schema_files(self.rollouts_folder, found)
        warn_of_damaged(damaged, self._warned_of, is_needed)
        sound = [path for path in rollout_paths(self.rollouts_folder) if path not in damaged]
        with self._connection(read_only=True, files=sound) as connection:
            return answer(connection)

    @contextmanager
    def _connection(self, read_only: bool, files: Sequence[Path] | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        if not self._prepared:
            self._has_view = prepare_store(self.path, self.rollouts_folder, self._lock_wait_seconds)
            self._prepared = True
        hidden = self._complete_switches()
        with connect(self.path, read_only, self._lock_wait_seconds) as connection:
            if files is not None or hidden or not self._has_view:
                shown = rollout_paths(self.rollouts_folder) if files is None else files
                make_temporary_view(connection, [path for path in shown if path not in hidden])
            yield connection

    def _complete_switches(self) -> set[Path]:
        """Complete what a killed compaction left; returns the files that are not to be read where the home cannot be written."""
        switches = pending_switches(self.rollouts_folder)
        if not switches:
            return set()
        try:
            with connect(self.path, read_only=False, wait_seconds=self._lock_wait_seconds):
                complete_switches(self.rollouts_folder)
        except OSError:
            return set().union(*(switch.superseded for switch in switches.values()))
        return set()


@contextmanager
def _user_sql(connection: duckdb.DuckDBPyConnection, timeout_seconds: float) -> Iterator[None]:
    timer = threading.Timer(timeout_seconds, connection.interrupt)
    timer.start()
    try:
        yield
    except duckdb.InterruptException as error:
        raise ValueError(f"the query took longer than {timeout_seconds:g} s") from error
    except duckdb.Error as error:
        raise ValueError(f"the query failed: {in_words(error)}") from error
    finally:
        timer.cancel()


def _run(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Parameters) -> QueryResult:
    rows = connection.execute(sql, parameters).fetchall()
    description = connection.description or []
    return QueryResult(tuple(str(column[0]) for column in description), tuple(str(column[1]) for column in description), rows)


def _write_parquet(connection: duckdb.DuckDBPyConnection, table: str, path: Path, only_runs: Sequence[str] | None) -> None:
    rows = f"SELECT * FROM {table}" + (" WHERE list_contains($run_ids, run_id)" if only_runs is not None else "")
    parameters = None if only_runs is None else {"run_ids": list(only_runs)}
    with replacing(path) as temporary:
        # DuckDB holds row groups of all threads in memory, and in order all that come before the slowest: texts of gigabytes.
        connection.execute("SET preserve_insertion_order = false")
        connection.sql(rows, params=parameters).write_parquet(str(temporary), compression="zstd", row_group_size=ROW_GROUP_ROWS)


def _is_about(file: Path, sql: str, parameters: Mapping[str, Any]) -> bool:
    """Whether a named query works out figures of the very run and stage that a rollout file belongs to."""
    run_id, stage = owner_of(file)
    return f"'{stage}'" in sql and (run_id == parameters.get("run_id") or run_id in parameters.get("run_ids", ()))


def _table(connection: duckdb.DuckDBPyConnection, name: str) -> TableSchema:
    tables = {table.name: table for table in read_schema(connection).values() if table.kind == "table"}
    if name not in tables:
        hint = "; rollouts are written with write_rollouts" if name == "rollouts" else ""
        raise ValueError(f"no table {name!r}; there are {', '.join(tables)}{hint}")
    return tables[name]


def _equals(table: TableSchema, where: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_columns(table, where)
    condition = " AND ".join(f"{column} IS NOT DISTINCT FROM $where_{column}" for column in where)
    return condition, {f"where_{column}": value for column, value in where.items()}
