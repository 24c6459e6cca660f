"""The schema as Markdown, from the comments in the DDL: `python -m pipeline_lib.store.schema_docs README.md [--check]`."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline_lib.files.generated_tables import keep_current, marks
from pipeline_lib.store.database import Store
from pipeline_lib.store.schema import ColumnSchema, TableSchema

NAME = "schema"
START, END = marks(NAME)


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the schema in a file, or with --check only say whether it is stale; returns the exit code."""
    return keep_current("pipeline_lib.store.schema_docs", NAME, render_schema, arguments)


if __name__ == "__main__":
    sys.exit(main())
