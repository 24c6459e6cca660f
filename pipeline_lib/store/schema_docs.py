"""The schema as Markdown, from the comments in the DDL (docs/reference/schema.md)."""

import tempfile
from pathlib import Path

from pipeline_lib.files.markdown import table
from pipeline_lib.store.database import Store
from pipeline_lib.store.schema import ColumnSchema, TableSchema


def render_schema() -> str:
    """Render the tables of a new store, a row each; the first sentence of a table's comment is its grain."""
    with tempfile.TemporaryDirectory() as home:
        tables = Store(Path(home)).schema()
    return table(["table", "grain", "columns (key in bold)"], [_row(each) for each in tables.values()])


def _row(known: TableSchema) -> list[str]:
    grain, _, remark = known.comment.partition(". ")
    name = f"`{known.name}`" if known.kind == "table" else f"`{known.name}` (view)"
    return [name, f"**{grain}.** {remark}", "<br>".join(_column(known, column) for column in known.columns)]


def _column(known: TableSchema, column: ColumnSchema) -> str:
    name = f"**{column.name}**" if column.name in known.key else column.name
    return f"{name} `{column.type}`: {column.comment}"
