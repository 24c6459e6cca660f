"""The outputs in a page of SQL: `python -m pipeline_lib.store.sql_docs docs/sql.md [--home HOME]` runs every query of it."""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipeline_lib.config import laconic_home
from pipeline_lib.store.database import QueryResult, Store

MOST_ROWS = 20
MOST_CHARACTERS = 60
MISSING = "–"
# A query, and the output below it when it has one.
_BLOCK = re.compile(r"```sql\n(?P<sql>.*?)```\n(?:\n```text\n(?P<output>.*?)```\n)?", re.DOTALL)
_HEADING = re.compile(r"^#{2,}\s+(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Question:
    """A query of a page, the heading above it, and the output that the page shows ("" for none)."""

    heading: str
    sql: str
    output: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the output that the page shows."""
        return tuple(self.output.partition("\n")[0].split())


def questions(page: str) -> Iterator[Question]:
    """Every query of a page in Markdown, in its order."""
    for block in _BLOCK.finditer(page):
        yield Question(_heading(page, block), block["sql"].strip(), block["output"] or "")


def _heading(page: str, block: re.Match[str]) -> str:
    headings = _HEADING.findall(page[: block.start()])
    return headings[-1] if headings else ""


def with_outputs(page: str, store: Store) -> str:
    """The page with the output of every query below it. Raises ValueError that names the heading when a query fails."""

    def answered(block: re.Match[str]) -> str:
        try:
            result = store.query(block["sql"])
        except ValueError as error:
            raise ValueError(f"{_heading(page, block) or 'a query'}: {error}") from error
        return f"```sql\n{block['sql']}```\n\n```text\n{aligned(result)}\n```\n"

    return _BLOCK.sub(answered, page)


def aligned(result: QueryResult) -> str:
    """A result as aligned text, at most 20 rows; numbers stand on the right. Raises ValueError for a column with a space."""
    if any(" " in column for column in result.columns):
        raise ValueError(f"columns {list(result.columns)}: a name with a space cannot be read back from aligned text")
    table = [[_cell(value) for value in row] for row in result.rows[:MOST_ROWS]]
    widths = [max(map(len, column)) for column in zip(result.columns, *table, strict=True)]
    is_number = [all(map(_is_number, column)) for column in zip(*result.rows, strict=True)] or [False] * len(widths)
    lines = [_line(cells, widths, is_number) for cells in (result.columns, ["-" * width for width in widths], *table)]
    if len(result.rows) > MOST_ROWS:
        lines.append(f"… {len(result.rows)} rows in all")
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int], is_number: Sequence[bool]) -> str:
    aligned = (f"{cell:{'>' if right else '<'}{width}}" for cell, width, right in zip(cells, widths, is_number, strict=True))
    return "  ".join(aligned).rstrip()


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float | Decimal) and not isinstance(value, bool))


def _cell(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return str(value).lower()
    text = f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the outputs into a page; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline_lib.store.sql_docs")
    parser.add_argument("page", type=Path, help="Markdown file with ```sql blocks")
    parser.add_argument("--home", type=Path, help="home whose store answers; default: LACONIC_HOME")
    options = parser.parse_args(arguments)
    page = options.page.read_text(encoding="utf-8")
    options.page.write_text(with_outputs(page, Store(options.home or laconic_home())), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
