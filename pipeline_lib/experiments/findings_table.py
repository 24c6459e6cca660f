"""The README's table of findings, from the pages: `python -m pipeline_lib.experiments.findings_table README.md [--check]`."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline_lib.experiments.specification import experiment_names, load_experiment
from pipeline_lib.files.generated_tables import keep_current

PAGES = Path(__file__).resolve().parents[2] / "docs" / "findings"
_VERDICT = re.compile(r"^\*\*(.+)\*\*$", re.MULTILINE)


def render_findings() -> str:
    """A row an experiment, in the order of the findings: what the paper says, our verdict, the page."""
    experiments = [load_experiment(name) for name in experiment_names()]
    experiments.sort(key=lambda experiment: int(experiment.finding[1:]))
    header = ["| finding | what the paper says | here | page |", "|---|---|---|---|"]
    rows = []
    for experiment in experiments:
        page = PAGES / f"{experiment.name}.md"
        verdict = _VERDICT.search(page.read_text(encoding="utf-8")) if page.exists() else None
        said = verdict[1] if verdict else "not run yet"
        rows.append(f"| {experiment.finding} | {experiment.title} | {said} | [{experiment.name}](docs/findings/{page.name}) |")
    return "\n".join([*header, *rows])


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the table in a file, or with --check only say whether it is stale; returns the exit code."""
    return keep_current("pipeline_lib.experiments.findings_table", "findings", render_findings, arguments)


if __name__ == "__main__":
    sys.exit(main())
