"""The figures of a comparison beside the Pareto panels: accuracy by budget and training dynamics, all runs overlaid."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline_lib.report.canvas import INK, budget_axes, panel_grid, styled
from pipeline_lib.report.comparison.data import ComparedRun, Comparison
from pipeline_lib.report.dynamics import Panel, panel_of
from pipeline_lib.report.figures import draw_accuracy
from pipeline_lib.report.finding import LENGTH_PANEL, draw_band, finish_panel, line_legend, smoothed_column

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = (
    *("mean_tokens", "accuracy", "reward_mean", "entropy", "validation_accuracy", "zero_variance_fraction"),
    *("positive_fraction", "truncated_fraction", "grad_norm"),
)
# The quantity whose course an alarm is about.
ALARM_COLUMNS: Mapping[str, str] = {
    "entropy_spike": "entropy",
    "length_collapse": "mean_tokens",
    "length_rebound": "mean_tokens",
    "reward_starvation": "positive_fraction",
}


@styled
def budget_curves(comparison: Comparison) -> "Figure | None":
    """Accuracy (Mean@k) of the base and of each run's last model against the budget, 95 % intervals as bands."""
    models = [(base.look, base.rows) for base in comparison.bases]
    models += [(run.look, run.last_rows) for run in comparison.runs]
    rows = [row for _, rows in models for row in rows]
    if len({row["budget_tokens"] for row in rows}) < 2:
        return None
    columns = min(2 if len(comparison.benchmarks) <= 4 else 3, len(comparison.benchmarks))
    figure, panels = panel_grid(len(comparison.benchmarks), columns, panel_height=3.3)
    for panel, benchmark in zip(panels, comparison.benchmarks, strict=True):
        for look, own in models:
            of_benchmark = [row for row in own if row["benchmark"] == benchmark]
            draw_accuracy(panel, of_benchmark, look.colour, look.line_style, marker_size=4, alpha=0.13)
        ticks = sorted({row["budget_tokens"] for row in rows if row["benchmark"] == benchmark})
        budget_axes(panel, benchmark, ticks)
    for panel in panels[::columns]:
        panel.set_ylabel("accuracy (Mean@k)")
    line_legend(figure, [*(base.look for base in comparison.bases), *(run.named_look for run in comparison.runs)])
    return figure


@styled
def dynamics_overlaid(runs: Sequence[ComparedRun]) -> "Figure | None":
    """Small multiples over training steps, a line per run; a cross where an alarm was raised. What nobody recorded has no panel."""
    shown = [run for run in runs if run.curve]
    panels = [panel_of(name) for name in COLUMNS if any(row.get(name) is not None for run in shown for row in run.curve)]
    if not panels:
        return None
    figure, axes = panel_grid(len(panels), columns=3, panel_height=2.05, sharex=True)
    for axis, panel in zip(axes, panels, strict=True):
        for run in shown:
            curve = smoothed_column(run.curve, panel)
            draw_band(axis, [curve], run.look)
            _mark_alarms(axis, panel, run, curve)
        finish_panel(axis, panel, panel.subtitle)
        if panel is LENGTH_PANEL:
            axis.set_ylim(bottom=0)
    for axis in axes[-3:]:
        axis.set_xlabel("training step")
    line_legend(figure, [run.named_look for run in shown])
    return figure


def _mark_alarms(
    axis: "Axes", panel: Panel, run: ComparedRun, curve: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"
) -> None:
    steps = sorted({alarm["step"] for alarm in run.alarms if ALARM_COLUMNS.get(alarm["kind"]) == panel.columns[0]})
    if not steps or not len(curve):
        return
    values = np.interp(steps, curve[:, 0], curve[:, 1])
    axis.plot(steps, values, linestyle="none", marker="X", markersize=8, color=run.look.colour, markeredgecolor=INK, zorder=5)
