"""The schema as Markdown, from the comments in the DDL (docs/reference/schema.md)."""

import tempfile
from pathlib import Path

from pipeline_lib.store.database import Store
from pipeline_lib.store.schema import ColumnSchema, TableSchema


def render_schema() -> str:
    """Render the tables of a new store, a row each; the first sentence of a table's comment is its grain."""
    with tempfile.TemporaryDirectory() as home:
        tables = Store(Path(home)).schema()
    return "\n".join(
        ["| table | grain | columns (key in bold) |", "|---|---|---|", *(_row(table) for table in tables.values())]
    )


def _row(table: TableSchema) -> str:
    grain, _, remark = table.comment.partition(". ")
    name = f"`{table.name}`" if table.kind == "table" else f"`{table.name}` (view)"
    return f"| {name} | **{grain}.** {remark} | {'<br>'.join(_column(table, column) for column in table.columns)} |"


def _column(table: TableSchema, column: ColumnSchema) -> str:
    name = f"**{column.name}**" if column.name in table.key else column.name
    return f"{name} `{column.type}`: {column.comment}"
