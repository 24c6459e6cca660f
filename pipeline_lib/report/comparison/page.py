"""The comparison of runs as one self-contained HTML page, with its figures as PNG files beside it."""

from collections.abc import Sequence
from pathlib import Path

from pipeline_lib.config import digest
from pipeline_lib.files.home import below, plain_key
from pipeline_lib.files.whole_files import write_whole
from pipeline_lib.report.comparison.data import Comparison
from pipeline_lib.report.comparison.figures import budget_curves, dynamics_overlaid
from pipeline_lib.report.comparison.pareto import pareto_figure
from pipeline_lib.report.comparison.settings import differing_settings
from pipeline_lib.report.comparison.tables import comparison_budget_tables, difference_tables, overview
from pipeline_lib.report.html import embedded_images, page_template
from pipeline_lib.report.watched import watch_notes

PAGE_FILE = "compare.html"


def comparison_folder(home: Path, run_ids: Sequence[str]) -> Path:
    """Where the page about these runs, in this order, lies by default."""
    return below(home, "reports", f"compare-{digest(list(run_ids))[:8]}")


def write_comparison(comparison: Comparison, folder: Path) -> Path:
    """Write `compare.html` and the PNGs into `folder` (made if needed) and return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = comparison.runs
    for former in folder.glob("pareto_*.png"):  # of a benchmark that the runs no longer have
        former.unlink()
    page = page_template("compare.html.j2").render(
        comparison=comparison,
        lines=overview(comparison),
        settings=differing_settings([run.config for run in runs]),
        budget_tables=comparison_budget_tables(comparison),
        difference_tables=difference_tables(comparison),
        pareto={benchmark: _pareto(comparison, benchmark, folder) for benchmark in comparison.benchmarks},
        images=embedded_images(
            folder, accuracy_by_budget=budget_curves(comparison), training_dynamics=dynamics_overlaid(comparison.runs)
        ),
        notes=[note for run in runs for note in watch_notes(f"{run.key} ({run.label})", run.alarms, run.phases)],
    )
    path = folder / PAGE_FILE
    write_whole(path, page)
    return path


def _pareto(comparison: Comparison, benchmark: str, folder: Path) -> tuple[str, str | None]:
    """The name of a benchmark's figure, and its image."""
    name = f"pareto_{plain_key(benchmark)}"
    return name, embedded_images(folder, **{name: pareto_figure(comparison, benchmark)})[name]
