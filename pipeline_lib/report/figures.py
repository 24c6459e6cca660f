"""Figures from plain rows: accuracy by token budget, response lengths, pass rates.

Each function returns a matplotlib Figure, or None when there is nothing to show. matplotlib is imported on use.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline_lib.report.canvas import INK, MUTED, budget_axes, colour_legend, panel_grid, percent_axis, styled, tokens_text
from pipeline_lib.report.data import Row, RunSeries, benchmark_names, compared_models

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EASY_COLOUR = "#009E73"
HARD_COLOUR = "#B8BDC4"
# The paper's rule: easy prompts are those the base solves in more than half of the rollouts.
EASY_ABOVE = 0.5


@styled
def accuracy_by_budget(
    series: Sequence[RunSeries], budget_results: Sequence[Row], target_tokens: int | None = None
) -> "Figure | None":
    """Accuracy (Mean@k) against the token budget with 95 % intervals, a panel per benchmark; None below two budgets."""
    models = compared_models(series, budget_results)
    if not models or len({row["budget_tokens"] for row in budget_results}) < 2:
        return None
    benchmarks = benchmark_names(budget_results)
    figure, panels = panel_grid(len(benchmarks), columns=min(3, len(benchmarks)), panel_height=3.3, sharey=True)
    for panel, benchmark in zip(panels, benchmarks, strict=True):
        own = sorted((row for row in budget_results if row["benchmark"] == benchmark), key=lambda row: row["budget_tokens"])
        for model in models:
            draw_accuracy(panel, [row for row in own if row in model.rows], model.colour)
        budgets = sorted({row["budget_tokens"] for row in own})
        budget_axes(panel, benchmark, budgets)
        _mark_target(panel, target_tokens, budgets)
    panels[0].set_ylabel("accuracy (Mean@k)")
    colour_legend(figure, [(model.label, model.colour) for model in models])
    return figure


def draw_accuracy(
    panel: "Axes", rows: Sequence[Row], colour: str, line_style: Any = "-", marker_size: float = 4.5, alpha: float = 0.16
) -> None:
    """One model's line over the budgets with its intervals as a band, and a mark at its mean length."""
    points = sorted(rows, key=lambda row: row["budget_tokens"])
    if not points:
        return
    budgets = [row["budget_tokens"] for row in points]
    accuracy, low, high = ([100 * row[key] for row in points] for key in ("mean_at_k", "ci_low", "ci_high"))
    panel.plot(budgets, accuracy, color=colour, linestyle=line_style, marker="o", markersize=marker_size, zorder=3)
    panel.fill_between(budgets, low, high, color=colour, alpha=alpha, linewidth=0)
    mean_tokens = points[-1]["mean_tokens"]
    panel.plot(mean_tokens, 0, marker="^", color=colour, markersize=7, clip_on=False, zorder=4, linestyle="none")


def _mark_target(panel: "Axes", target_tokens: int | None, budgets: Sequence[int]) -> None:
    if target_tokens is None or not budgets or not budgets[0] / 2 <= target_tokens <= budgets[-1] * 2:
        return
    panel.axvline(target_tokens, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    text = f" target $L_T$ = {tokens_text(target_tokens)}"
    panel.text(target_tokens, 1.0, text, transform=panel.get_xaxis_transform(), color=MUTED, fontsize=8, va="top")


@styled
def length_by_correctness(series: Sequence[RunSeries], length_samples: Sequence[Row]) -> "Figure | None":
    """Histograms of response length, right and wrong apart: a panel per model and benchmark, axes shared."""
    models = compared_models(series, length_samples)
    if not models:
        return None
    benchmarks = benchmark_names(length_samples)
    # Models stand below each other, where a shift shows best, as long as the benchmarks fit side by side.
    if len(benchmarks) <= 2:
        cells = [(model, benchmark) for model in models for benchmark in benchmarks]
    else:
        cells = [(model, benchmark) for benchmark in benchmarks for model in models]
    columns = len(benchmarks) if len(benchmarks) <= 2 else len(models)
    figure, panels = panel_grid(len(cells), columns, panel_height=1.75, sharex=True, sharey=True)
    edges, is_log = _length_bins(np.array([row["num_tokens"] for row in length_samples], dtype=float))
    for panel, (model, benchmark) in zip(panels, cells, strict=True):
        rows = [row for row in model.rows if str(row.get("benchmark", "")) == benchmark]
        _draw_lengths(panel, rows, edges, model.colour)
        if is_log:
            panel.set_xscale("log", base=2)
        panel.xaxis.set_major_formatter(lambda value, _: tokens_text(value))
        percent_axis(panel)
        title = f"{benchmark}, {model.label}" if benchmark else model.label
        panel.set_title(title, color=model.colour, fontsize=9)
    # Room for the words above the bars; the axis is shared.
    panels[0].set_ylim(top=1.35 * panels[0].get_ylim()[1])
    for panel in panels[::columns]:
        panel.set_ylabel("share")
    for panel in panels[-columns:]:
        panel.set_xlabel("response length (tokens)")
    return figure


def _length_bins(lengths: "np.ndarray[Any, Any]") -> tuple[list[float], bool]:
    """Bin edges, and whether they (and so the axis) are logarithmic."""
    low, high = max(1.0, float(np.quantile(lengths, 0.05))), float(lengths.max())
    if high / low > 64:
        return np.geomspace(max(1.0, lengths.min()), high * 1.001, 41).tolist(), True
    width = max(1, math.ceil(high / 40))
    return np.arange(0, high + 2 * width, width).tolist(), False


def _draw_lengths(panel: "Axes", rows: Sequence[Row], edges: list[float], colour: str) -> None:
    if not rows:
        panel.text(0.5, 0.5, "no responses", transform=panel.transAxes, ha="center", color=MUTED)
        return
    share = 100.0 / len(rows)
    groups = {flag: [row["num_tokens"] for row in rows if bool(row["correct"]) is flag] for flag in (True, False)}
    panel.hist(groups[True], edges, weights=[share] * len(groups[True]), color=colour, alpha=0.55, linewidth=0)
    panel.hist(groups[False], edges, weights=[share] * len(groups[False]), histtype="step", color=INK, linewidth=1.2)
    texts = [
        f"{name}: {len(lengths) * share:.0f} %, mean {np.mean(lengths):,.0f}" if lengths else f"{name}: none"
        for name, lengths in (("right (filled)", groups[True]), ("wrong (outline)", groups[False]))
    ]
    panel.text(0.99, 0.97, "\n".join(texts), transform=panel.transAxes, ha="right", va="top", fontsize=8, color=MUTED)


@styled
def pass_rate_histogram(pass_rates: Sequence[float]) -> "Figure | None":
    """How many profiled prompts have each pass rate, with the boundary between hard and easy."""
    if not pass_rates:
        return None
    rates = np.array(pass_rates, dtype=float)
    num_bins = _num_rollouts(rates) or 32
    # Rounding up keeps 0.5 hard and everything above it easy, also where a bin holds several rates.
    counts = np.bincount(np.ceil(rates * num_bins - 1e-6).astype(int), minlength=num_bins + 1)
    centres = np.arange(num_bins + 1) / num_bins
    figure, (panel,) = panel_grid(1, columns=1, panel_height=2.6)
    colours = [EASY_COLOUR if centre > EASY_ABOVE else HARD_COLOUR for centre in centres]
    bars = panel.bar(centres, counts, width=0.86 / num_bins, color=colours)
    if num_bins <= 24:
        panel.bar_label(bars, labels=[str(count) for count in counts], padding=2, fontsize=8, color=MUTED)
        panel.set_xticks(centres, [f"{100 * centre:.3g}" for centre in centres])
    boundary = (math.floor(EASY_ABOVE * num_bins) + 0.5) / num_bins
    panel.axvline(boundary, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    num_easy = int((rates > EASY_ABOVE).sum())
    for name, count, x, align, colour in (
        ("hard", rates.size - num_easy, boundary - 0.01, "right", MUTED),
        ("easy", num_easy, boundary + 0.01, "left", EASY_COLOUR),
    ):
        text = f"{name}: {count} prompts ({100 * count / rates.size:.0f} %)"
        panel.text(x, 1.02, text, transform=panel.get_xaxis_transform(), ha=align, va="bottom", color=colour, fontweight="bold")
    panel.set_ylim(top=1.1 * counts.max())
    panel.grid(axis="x", visible=False)
    panel.set_xlabel("pass rate of the base model (%)")
    panel.set_ylabel("prompts")
    return figure


def _num_rollouts(rates: "np.ndarray[Any, Any]") -> int | None:
    """The smallest N for which every rate is a whole number of successes out of N (at most 64)."""
    for number in range(2, 65):
        if np.allclose(rates * number, np.rint(rates * number), atol=1e-6):
            return max(number, 4)
    return None
