"""The table of findings, from their pages (docs/findings/index.md)."""

import re
from pathlib import Path

from pipeline_lib.experiments.specification import experiment_names, load_experiment
from pipeline_lib.files.markdown import table

PAGES = Path(__file__).resolve().parents[2] / "docs" / "findings"
_VERDICT = re.compile(r"^\*\*(.+)\*\*$", re.MULTILINE)


def render_findings() -> str:
    """A row per experiment, in the order of the findings: what the paper says, our verdict, the page."""
    experiments = [load_experiment(name) for name in experiment_names()]
    experiments.sort(key=lambda experiment: int(experiment.finding[1:]))
    rows = []
    for experiment in experiments:
        page = PAGES / f"{experiment.name}.md"
        verdict = _VERDICT.search(page.read_text(encoding="utf-8")) if page.exists() else None
        said = verdict[1] if verdict else "not run yet"
        rows.append([experiment.finding, experiment.title, said, f"[{experiment.name}]({page.name})"])
    return table(["finding", "what the paper says", "here", "page"], rows)
