"""The schema as Markdown, from the comments in the DDL: `python -m pipeline_lib.store.schema_docs README.md [--check]`."""

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline_lib.store.database import Store
from pipeline_lib.store.schema import ColumnSchema, TableSchema

START, END = "<!-- schema:start -->", "<!-- schema:end -->"


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


def updated(document: str) -> str:
    """Put the schema between the two marks of a Markdown text; raises ValueError where they are missing."""
    pattern = re.compile(f"{re.escape(START)}.*?{re.escape(END)}", re.DOTALL)
    if len(pattern.findall(document)) != 1:
        raise ValueError(f"the document must hold {START} and {END} once, in this order")
    return pattern.sub(lambda _: f"{START}\n{render_schema()}\n{END}", document)


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the schema in a file, or with --check only say whether it is stale; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline_lib.store.schema_docs", description=__doc__)
    parser.add_argument("document", type=Path, help=f"Markdown file with {START} and {END}")
    parser.add_argument("--check", action="store_true", help="change nothing, exit with 1 when the schema is stale")
    options = parser.parse_args(arguments)
    before = options.document.read_text(encoding="utf-8")
    after = updated(before)
    if options.check:
        if after != before:
            print(f"the schema in {options.document} is stale: run python -m pipeline_lib.store.schema_docs {options.document}")
        return int(after != before)
    options.document.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
