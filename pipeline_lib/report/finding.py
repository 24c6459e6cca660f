"""The figures of a finding's page: training dynamics and accuracy by budget, one colour per arm, the seeds as a band."""

import io
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline_lib.files.whole_files import replacing
from pipeline_lib.report.canvas import COLOURS, INK, MUTED, budget_axes, panel_grid, percent_axis, plain_log_axis, styled
from pipeline_lib.report.data import Row, benchmark_names, last_trained
from pipeline_lib.report.dynamics import Panel, column_values, moving_average, panel_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CONTROL_COLOUR = "#8B9199"
# Beyond the palette the colours come again, dashed.
LINE_STYLES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)))
BASE_STYLES: tuple[Any, ...] = ((0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
# Curves of more steps are drawn as moving averages: seeds and arms must be told apart, single steps need not be.
SMOOTH_ABOVE_STEPS = 20
# Enough for a page; many bands at more would pass 250 kB.
DOTS_PER_INCH = 160
LEGEND_CHARACTERS = 135

LENGTH_PANEL, HELD_OUT_PANEL = panel_of("mean_tokens"), panel_of("validation_full_accuracy")
STANDARD_COLUMNS = (
    *("mean_tokens", "accuracy", "validation_full_accuracy", "entropy", "positive_fraction", "zero_variance_fraction"),
    *("style.short", "style.long", "style.skip", "style.other"),
)


@dataclass(frozen=True, slots=True)
class ArmSeries:
    """One arm. `curves`: rows of training_steps of each seed; `budgets`: rows of budget_results of each seed, step 0 the base."""

    label: str
    base_model: str
    target_tokens: int | None
    is_control: bool = False
    curves: Sequence[Sequence[Row]] = ()
    budgets: Sequence[Sequence[Row]] = ()


@dataclass(frozen=True, slots=True)
class Stroke:
    """How the lines of an arm, or of a base, look."""

    label: str
    colour: str
    line_style: Any = "-"


def strokes(arms: Sequence[ArmSeries]) -> list[Stroke]:
    """The look of every arm in all figures: the control grey, the others by their order."""
    looks = iter(itertools.product(LINE_STYLES, COLOURS))
    return [
        Stroke(arm.label, CONTROL_COLOUR) if arm.is_control else Stroke(arm.label, colour, line_style)
        for arm in arms
        for line_style, colour in [("-", "") if arm.is_control else next(looks)]
    ]


@styled
def finding_dynamics(arms: Sequence[ArmSeries], extra_columns: Sequence[str] = ()) -> "Figure | None":
    """Small multiples over training steps: each arm's mean over seeds, its seeds from lowest to highest as a band.

    `extra_columns` of training_steps get panels behind the standard ones; what nobody recorded has no panel.
    """
    panels = [
        panel
        for panel in map(panel_of, (*STANDARD_COLUMNS, *extra_columns))
        if any(row.get(panel.columns[0]) is not None for arm in arms for curve in arm.curves for row in curve)
    ]
    if not panels:
        return None
    figure, axes = panel_grid(len(panels), columns=3, panel_height=1.95, sharex=True)
    looks, targets = strokes(arms), sorted({arm.target_tokens for arm in arms if arm.target_tokens})
    for axis, panel in zip(axes, panels, strict=True):
        # The control lies below the others.
        for arm, look in sorted(zip(arms, looks, strict=True), key=lambda pair: not pair[0].is_control):
            curves = [smoothed_column(curve, panel) for curve in arm.curves]
            draw_band(axis, curves, look)
        marked = f"; dashed: $L_T$ = {', '.join(map(str, targets))}" if panel is LENGTH_PANEL and targets else ""
        finish_panel(axis, panel, panel.subtitle + marked)
        if panel is LENGTH_PANEL:
            axis.set_ylim(bottom=0)
            for target in targets:
                axis.axhline(target, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        if panel is HELD_OUT_PANEL:
            _mark_bases(axis, arms)
    for axis in axes[-3:]:
        axis.set_xlabel("training step")
    line_legend(figure, looks)
    return figure


def smoothed_column(curve: Sequence[Row], panel: Panel) -> "np.ndarray[Any, Any]":
    """Steps and (smoothed) values [n, 2] of a panel's column of one run, without missing values."""
    table = column_values(curve, panel.columns[0], positive_only=panel.is_log)
    # On a log scale the spikes are what is looked for.
    if len(table) > SMOOTH_ABOVE_STEPS and not panel.is_log:
        table[:, 1] = moving_average(table[:, 1], window=2 * math.ceil(len(table) / 30) + 1)
    return table


def draw_band(axis: "Axes", curves: "Sequence[np.ndarray[Any, Any]]", look: Stroke) -> None:
    """Mean, lowest and highest over the runs that have a value at the step (a run may have been stopped early)."""
    curves = [curve for curve in curves if len(curve)]
    if not curves:
        return
    positions = sorted({x for curve in curves for x in curve[:, 0]})
    at = {x: [value for curve in curves for value in curve[curve[:, 0] == x, 1]] for x in positions}
    marker = "o" if len(positions) <= SMOOTH_ABOVE_STEPS else None
    mean = [float(np.mean(at[x])) for x in positions]
    axis.plot(
        positions, mean, color=look.colour, linestyle=look.line_style, linewidth=1.5, marker=marker, markersize=2.6, zorder=3
    )
    if len(curves) > 1:
        low, high = ([chosen(at[x]) for x in positions] for chosen in (min, max))
        axis.fill_between(positions, low, high, color=look.colour, alpha=0.13, linewidth=0, zorder=2)


def finish_panel(axis: "Axes", panel: Panel, subtitle: str) -> None:
    axis.set_title(panel.title, pad=16)
    axis.text(0, 1.03, subtitle, transform=axis.transAxes, color=MUTED, fontsize=8)
    if panel.is_log:
        plain_log_axis(axis)
    if panel.is_share:
        low, high = axis.get_ylim()
        # Shares end at 0 and 1; a constant one must not be drawn as if it could be negative.
        axis.set_ylim(max(low, -0.01), min(high, 1.01))
        axis.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")


def _mark_bases(axis: "Axes", arms: Sequence[ArmSeries]) -> None:
    """Accuracy of the model before RL, on the first benchmark at the largest budget: validation does not measure it."""
    for look, runs in _bases(arms):
        rows = [row for rows in runs for row in rows if row["benchmark"] == rows[0]["benchmark"]]
        if rows:
            largest = max(row["budget_tokens"] for row in rows)
            accuracy = np.mean([row["mean_at_k"] for row in rows if row["budget_tokens"] == largest])
            axis.axhline(accuracy, color=INK, linewidth=0.9, linestyle=look.line_style, zorder=1)


@styled
def finding_budgets(arms: Sequence[ArmSeries]) -> "Figure | None":
    """Accuracy (Mean@k) of each arm's last step and of the base against the token budget, a panel per benchmark, and a last panel
    with length against accuracy at the largest budget, a point per seed."""
    rows = [row for arm in arms for rows in arm.budgets for row in rows]
    if not rows:
        return None
    models = [*_bases(arms), *zip(strokes(arms), ([last_trained(rows) for rows in arm.budgets] for arm in arms), strict=True)]
    benchmarks = benchmark_names(rows)
    figure, panels = panel_grid(len(benchmarks) + 1, columns=3, panel_height=3.1)
    for panel, benchmark in zip(panels, benchmarks, strict=False):
        _draw_budgets(panel, benchmark, models)
    _draw_lengths(panels[-1], benchmarks[0], models)
    line_legend(figure, [look for look, _ in models])
    return figure


Model = tuple[Stroke, Sequence[Sequence[Row]]]


def _bases(arms: Sequence[ArmSeries]) -> list[Model]:
    """The base models, with the rows of every run that started from them."""
    by_name: dict[str, list[Sequence[Row]]] = {}
    for arm in arms:
        for rows in arm.budgets:
            by_name.setdefault(arm.base_model, []).append([row for row in rows if row["step"] == 0])
    return [
        (Stroke("before RL" if len(by_name) == 1 else f"before RL ({name})", INK, line_style), rows)
        for (name, rows), line_style in zip(by_name.items(), itertools.cycle(BASE_STYLES), strict=False)
    ]


def _draw_budgets(panel: "Axes", benchmark: str, models: Sequence[Model]) -> None:
    for look, runs in models:
        curves = [
            np.array([(row["budget_tokens"], 100 * row["mean_at_k"]) for row in rows if row["benchmark"] == benchmark])
            for rows in runs
        ]
        draw_band(panel, curves, look)
    budgets = sorted(
        {row["budget_tokens"] for _, runs in models for rows in runs for row in rows if row["benchmark"] == benchmark}
    )
    budget_axes(panel, benchmark, budgets, top=100)


def _draw_lengths(panel: "Axes", benchmark: str, models: Sequence[Model]) -> None:
    """Mean length against accuracy, both at the largest budget: up and to the left is better."""
    for look, runs in models:
        for rows in runs:
            own = [row for row in rows if row["benchmark"] == benchmark]
            if not own:
                continue
            row = max(own, key=lambda row: row["budget_tokens"])
            # Dashed arms are told apart from solid ones of the same colour by an open mark.
            is_open = look.line_style != "-"
            panel.plot(
                row["mean_tokens"],
                100 * row["mean_at_k"],
                marker="o",
                markersize=5.5,
                color=look.colour,
                markerfacecolor="white" if is_open else look.colour,
                linestyle="none",
                alpha=0.85,
            )
    panel.set_title(f"{benchmark}, largest budget")
    panel.set_xlabel("mean length (tokens)")
    panel.set_ylim(0, 100)
    percent_axis(panel)


def line_legend(figure: "Figure", looks: Sequence[Stroke]) -> None:
    """Name the lines above the panels, in as many columns as the longest label allows."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=look.colour, linestyle=look.line_style, linewidth=2.4, label=look.label) for look in looks]
    longest = max(len(look.label) for look in looks) + 6
    columns = max(1, min(len(looks), LEGEND_CHARACTERS // longest))
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, handlelength=1.8, fontsize=9)


def save_small_png(figure: "Figure", path: Path) -> Path:
    """Write a figure as PNG with a palette of 256 colours: a third of the size, as these files are kept beside the docs."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DOTS_PER_INCH, format="png")
    with Image.open(buffer) as picture:
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    with replacing(path) as temporary:
        small.save(temporary, format="PNG", optimize=True)
    return path
