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
from pipeline_lib.report.html import FigureSection, draw_section, page_template
from pipeline_lib.report.watched import alarm_sentence, phases_sentence

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
        pareto=[_pareto_section(comparison, benchmark, folder) for benchmark in comparison.benchmarks],
        budgets=_budget_section(comparison, folder),
        dynamics=_dynamics_section(comparison, folder),
        notes=_notes(comparison),
    )
    path = folder / PAGE_FILE
    write_whole(path, page)
    return path


def _pareto_section(comparison: Comparison, benchmark: str, folder: Path) -> FigureSection:
    return draw_section(
        folder,
        f"pareto_{plain_key(benchmark)}",
        f"Tokens against accuracy: {benchmark}",
        "Up and to the left is better. Filled is the last model of a run, open an earlier checkpoint (or a run drawn with a dashed "
        "line); the square is the model before RL. Models ringed in grey are the Pareto front: no other has fewer tokens and is as "
        "accurate. A response counts with at most the budget's tokens. Vertical lines are 95 % intervals.",
        "No budget sweep was recorded.",
        lambda: pareto_figure(comparison, benchmark),
    )


def _budget_section(comparison: Comparison, folder: Path) -> FigureSection:
    return draw_section(
        folder,
        "accuracy_by_budget",
        "Accuracy at every token budget",
        "The last model of every run, and the model before RL. Bands are 95 % intervals over prompts, each model on its own (for "
        "differences between runs see the paired table); triangles mark mean lengths.",
        "A line needs at least two budgets, and none of these runs has been swept over as many.",
        lambda: budget_curves(comparison),
    )


def _dynamics_section(comparison: Comparison, folder: Path) -> FigureSection:
    return draw_section(
        folder,
        "training_dynamics",
        "Training, step by step",
        "Each run trains on the prompts that its own filter kept and at its own limit, so only the held-out panel compares like with "
        "like. Runs of more than 20 steps are smoothed, except on a log scale. A cross marks an alarm.",
        "No training step was recorded.",
        lambda: dynamics_overlaid(comparison.runs),
    )


def _notes(comparison: Comparison) -> list[str]:
    notes = []
    for run in comparison.runs:
        who = f"{run.key} ({run.label})"
        notes += [alarm_sentence(who, alarm) for alarm in run.alarms]
        stages = phases_sentence(who, run.phases)
        notes += [stages] if stages else []
    return notes
