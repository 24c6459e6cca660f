"""What documents show of the code: `python -m flows.generated_docs` writes every such block, with `--check` it names the stale ones."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from flows.cli_reference import render_commands
from pipeline_lib.config.reference import render_configuration
from pipeline_lib.experiments.findings_table import render_findings
from pipeline_lib.grading.maths.table import render_meetings
from pipeline_lib.guidelines import render_rules
from pipeline_lib.memory.table import render_memory
from pipeline_lib.store.schema_docs import render_schema

REPOSITORY = Path(__file__).resolve().parents[1]

# Document, name of the block in it, what renders the block.
BLOCKS: tuple[tuple[str, str, Callable[[], str]], ...] = (
    ("docs/findings/index.md", "findings", render_findings),
    ("docs/grading.md", "meetings", render_meetings),
    ("docs/guidelines.md", "rules", render_rules),
    ("docs/performance.md", "memory", render_memory),
    ("docs/reference/cli.md", "commands", render_commands),
    ("docs/reference/configuration.md", "configuration", render_configuration),
    ("docs/reference/schema.md", "schema", render_schema),
)


def updated_document(document: str, name: str, rendered: str) -> str:
    """Put a block between its marks in a Markdown text; raises ValueError where they are missing."""
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(document)) != 1:
        raise ValueError(f"the document must hold {start} and {end} once, in this order")
    return pattern.sub(lambda _: f"{start}\n{rendered}\n{end}", document)


def main(arguments: Sequence[str] | None = None, root: Path = REPOSITORY) -> int:
    """Rewrite the blocks of the documents below `root`, or with --check only name the stale ones; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.generated_docs")
    parser.add_argument("--check", action="store_true", help="change nothing, exit with 1 when a block is stale")
    check = parser.parse_args(arguments).check
    num_stale = 0
    for document, name, render in BLOCKS:
        before = (root / document).read_text(encoding="utf-8")
        after = updated_document(before, name, render())
        num_stale += after != before
        if check and after != before:
            print(f"{document}: the block of the {name} is stale: run python -m flows.generated_docs")
        elif after != before:
            (root / document).write_text(after, encoding="utf-8")
    return int(check and num_stale > 0)


if __name__ == "__main__":
    sys.exit(main())
