"""Rows into tables by primary key: batches go through Arrow, so that 100,000 rows take well under a second."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from pipeline_lib.store.schema import TableSchema

ARROW_TYPES: Mapping[str, pa.DataType] = {
    "VARCHAR": pa.string(),
    "JSON": pa.string(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", tz="UTC"),
}
# Set by the store whenever a row is written, unless the row gives it.
STAMP_COLUMN = "recorded_at"


def upsert_rows(connection: duckdb.DuckDBPyConnection, table: TableSchema, rows: Sequence[Any]) -> int:
    """Insert rows (records or mappings), or update the given columns of those whose key exists; returns the number of keys.

    A key that comes twice counts once, and its last row wins. JSON columns take trees of plain values, or JSON text.
    """
    batches: dict[tuple[str, ...], dict[tuple[Any, ...], Mapping[str, Any]]] = {}
    for row in map(_as_mapping, rows):
        columns = tuple(row)
        if columns not in batches:
            check_columns(table, columns)
            _check_key_given(table, columns)
            batches[columns] = {}
        batches[columns][tuple(row[column] for column in table.key)] = row
    for columns, keyed_rows in batches.items():
        connection.register("batch", _arrow_table(table, columns, keyed_rows.values()))
        try:
            connection.execute(merge_sql(table, columns, "batch"))
        except duckdb.ConstraintException as error:
            raise ValueError(f"{table.name} refuses a row: {error}") from error
        connection.unregister("batch")
    return len({key for keyed_rows in batches.values() for key in keyed_rows})


def merge_sql(table: TableSchema, columns: Sequence[str], source: str) -> str:
    """SQL that upserts `columns` of `source` (a table, or a query in brackets) into a table."""
    stamp = {STAMP_COLUMN: "now()"} if STAMP_COLUMN in table.types and STAMP_COLUMN not in columns else {}
    values = {column: f"source.{column}" for column in columns} | stamp
    match = " AND ".join(f"target.{column} = source.{column}" for column in table.key)
    update = ", ".join(f"{column} = {value}" for column, value in values.items() if column not in table.key)
    return (
        f"MERGE INTO {table.name} AS target USING {source} AS source ON {match} "
        + (f"WHEN MATCHED THEN UPDATE SET {update} " if update else "")
        + f"WHEN NOT MATCHED THEN INSERT ({', '.join(values)}) VALUES ({', '.join(values.values())})"
    )


def check_columns(table: TableSchema, columns: Iterable[str]) -> None:
    """Raise ValueError naming the columns that the table does not have."""
    unknown = sorted(set(columns) - set(table.types))
    if unknown:
        raise ValueError(f"{table.name} has no column {', '.join(unknown)}; it has {', '.join(table.types)}")


def _check_key_given(table: TableSchema, columns: Sequence[str]) -> None:
    missing = [column for column in table.key if column not in columns]
    if missing:
        raise ValueError(f"a row for {table.name} lacks {', '.join(missing)}; its key is ({', '.join(table.key)})")


def _as_mapping(row: Any) -> Mapping[str, Any]:
    if isinstance(row, Mapping):
        return row
    assert is_dataclass(row), f"a row is a record or a mapping, not {type(row).__name__}"
    # dataclasses.asdict copies deeply, which takes seconds for 100,000 rows.
    return {field.name: getattr(row, field.name) for field in fields(row)}


def _arrow_table(table: TableSchema, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    rows = list(rows)
    arrays = {}
    for column in columns:
        column_type = table.types[column]
        try:
            values = [_storable(row[column], column_type) for row in rows]
            arrays[column] = pa.array(values, type=ARROW_TYPES[column_type])
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise ValueError(f"{table.name}.{column} takes {column_type}: {error}") from error
    return pa.table(arrays)


def _storable(value: Any, column_type: str) -> Any:
    if column_type == "JSON" and value is not None and not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone")
    return value
