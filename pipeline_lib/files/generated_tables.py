"""Tables in Markdown files that are made from the code: rewritten between two marks, or checked for being current."""

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path


def marks(name: str) -> tuple[str, str]:
    """The comments that a generated table stands between."""
    return f"<!-- {name}:start -->", f"<!-- {name}:end -->"


def updated_document(document: str, name: str, table: str) -> str:
    """Put the table between its marks in a Markdown text; raises ValueError where they are missing."""
    start, end = marks(name)
    pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(document)) != 1:
        raise ValueError(f"the document must hold {start} and {end} once, in this order")
    return pattern.sub(lambda _: f"{start}\n{table}\n{end}", document)


def keep_current(module: str, name: str, render: Callable[[], str], arguments: Sequence[str] | None = None) -> int:
    """The command `python -m MODULE FILE [--check]`: rewrite the table, or say whether it is stale; returns the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("document", type=Path, help=f"Markdown file with {' and '.join(marks(name))}")
    parser.add_argument("--check", action="store_true", help="change nothing, exit with 1 when the table is stale")
    options = parser.parse_args(arguments)
    before = options.document.read_text(encoding="utf-8")
    after = updated_document(before, name, render())
    if options.check:
        if after != before:
            print(f"the table of the {name} in {options.document} is stale: run python -m {module} {options.document}")
        return int(after != before)
    options.document.write_text(after, encoding="utf-8")
    return 0
