"""The rules as a Markdown table, from the registry: `python -m pipeline_lib.guidelines.docs docs/guidelines.md [--check]`."""

import sys
from collections.abc import Sequence

from pipeline_lib.files.generated_tables import keep_current, marks
from pipeline_lib.guidelines import RULES, Rule

NAME = "rules"
START, END = marks(NAME)


def render_rules() -> str:
    """A row a rule, in the order of the registry."""
    header = ["| rule | severity | rests on | fires when | why |", "|---|---|---|---|---|"]
    return "\n".join([*header, *(_row(rule) for rule in RULES)])


def _row(rule: Rule) -> str:
    cells = (f"`{rule.id}`", ", ".join(rule.severities), rule.basis, rule.fires, rule.why)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the table in a file, or with --check only say whether it is stale; returns the exit code."""
    return keep_current("pipeline_lib.guidelines.docs", NAME, render_rules, arguments)


if __name__ == "__main__":
    sys.exit(main())
