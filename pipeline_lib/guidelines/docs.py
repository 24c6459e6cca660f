"""The rules as a Markdown table, from the registry: `python -m pipeline_lib.guidelines.docs docs/guidelines.md [--check]`."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline_lib.guidelines import RULES, Rule

START, END = "<!-- rules:start -->", "<!-- rules:end -->"


def render_rules() -> str:
    """A row a rule, in the order of the registry."""
    header = ["| rule | severity | rests on | fires when | why |", "|---|---|---|---|---|"]
    return "\n".join([*header, *(_row(rule) for rule in RULES)])


def _row(rule: Rule) -> str:
    cells = (f"`{rule.id}`", ", ".join(rule.severities), rule.basis, rule.fires, rule.why)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def updated(document: str) -> str:
    """Put the table between the two marks of a Markdown text; raises ValueError where they are missing."""
    pattern = re.compile(f"{re.escape(START)}.*?{re.escape(END)}", re.DOTALL)
    if len(pattern.findall(document)) != 1:
        raise ValueError(f"the document must hold {START} and {END} once, in this order")
    return pattern.sub(lambda _: f"{START}\n{render_rules()}\n{END}", document)


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the table in a file, or with --check only say whether it is stale; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline_lib.guidelines.docs", description=__doc__)
    parser.add_argument("document", type=Path, help=f"Markdown file with {START} and {END}")
    parser.add_argument("--check", action="store_true", help="change nothing, exit with 1 when the table is stale")
    options = parser.parse_args(arguments)
    before = options.document.read_text(encoding="utf-8")
    after = updated(before)
    if options.check:
        if after != before:
            print(f"the rules in {options.document} are stale: run python -m pipeline_lib.guidelines.docs {options.document}")
        return int(after != before)
    options.document.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
