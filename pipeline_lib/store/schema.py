"""What tables, views, columns, keys and comments a database has, read from DuckDB's own catalogue."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import duckdb


@dataclass(frozen=True, slots=True)
class ColumnSchema:
    """A column: `type` as DuckDB spells it."""

    name: str
    type: str
    comment: str


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A table or view; a view has an empty `key`."""

    name: str
    kind: Literal["table", "view"]
    comment: str
    columns: tuple[ColumnSchema, ...]
    key: tuple[str, ...]

    @property
    def types(self) -> Mapping[str, str]:
        return {column.name: column.type for column in self.columns}


def read_schema(connection: duckdb.DuckDBPyConnection) -> dict[str, TableSchema]:
    """Describe every table and view by name, in the order of the names."""
    objects = connection.execute(
        "SELECT table_name, 'table', comment FROM duckdb_tables() WHERE NOT internal AND NOT temporary "
        "UNION ALL SELECT view_name, 'view', comment FROM duckdb_views() WHERE NOT internal AND NOT temporary"
    ).fetchall()
    columns: dict[str, list[ColumnSchema]] = {}
    for table, column, column_type, comment in connection.execute(
        "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() "
        "WHERE NOT internal AND database_name <> 'temp' ORDER BY column_index"
    ).fetchall():
        columns.setdefault(table, []).append(ColumnSchema(column, column_type, comment or ""))
    keys = dict(
        connection.execute(
            "SELECT table_name, constraint_column_names FROM duckdb_constraints() WHERE constraint_type = 'PRIMARY KEY'"
        ).fetchall()
    )
    return {
        name: TableSchema(name, kind, comment or "", tuple(columns[name]), tuple(keys.get(name, ())))
        for name, kind, comment in sorted(objects)
    }
