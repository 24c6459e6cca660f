"""The figure of the training dynamics: small multiples over steps, one colour per run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline_lib.report.canvas import MUTED, colour_legend, panel_grid, plain_log_axis, styled
from pipeline_lib.report.data import Row, RunSeries, series_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A longer run is drawn as a moving average over a faint line.
SMOOTH_ABOVE_STEPS = 60


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: its title, the columns it draws (the second one dotted), and how to read it."""

    title: str
    columns: tuple[str, ...]
    subtitle: str
    is_log: bool = False
    is_share: bool = False


# Of one column each, by that column.
PANEL_OF = {
    panel.columns[0]: panel
    for panel in (
        Panel("Response length", ("mean_tokens",), "tokens"),
        Panel("Accuracy of the rollouts", ("accuracy",), "whatever the length", is_share=True),
        Panel("Held-out accuracy", ("validation_full_accuracy",), "any length; black: before RL (test)", is_share=True),
        Panel("Entropy", ("entropy",), "nats per token"),
        Panel("Rollouts with a positive reward", ("positive_fraction",), "share of rollouts", is_share=True),
        Panel("Groups without a signal", ("zero_variance_fraction",), "share of groups, all rewards equal", is_share=True),
        Panel("Short style", ("style.short",), "table or fold, share of rollouts", is_share=True),
        Panel("Long styles", ("style.long",), "count or verbose, share of rollouts", is_share=True),
        Panel("No reasoning", ("style.skip",), "skip: the answer at once, share of rollouts", is_share=True),
        Panel("Unfinished or other", ("style.other",), "cut off or in no style, share of rollouts", is_share=True),
        Panel("Length of right rollouts", ("mean_tokens_correct",), "tokens"),
        Panel("Length of wrong rollouts", ("mean_tokens_incorrect",), "tokens"),
        Panel("Reward", ("reward_mean",), "mean"),
        Panel("Cut at the rollout limit", ("truncated_fraction",), "share of rollouts", is_share=True),
        Panel("KL to the base", ("kl",), "nats per token, log scale", is_log=True),
        Panel("Gradient norm", ("grad_norm",), "before clipping, log scale", is_log=True),
        Panel("Clipped tokens", ("clip_fraction",), "share of tokens", is_share=True),
        Panel("Target length in force", ("target_tokens",), "L_T, tokens"),
        Panel("Kept out of the loss", ("masked_fraction",), "share of rollouts", is_share=True),
        Panel("Policy lag", ("policy_lag",), "mean, optimiser steps"),
        Panel("Largest policy lag", ("largest_policy_lag",), "optimiser steps"),
        Panel("Held-out accuracy within $L_T$", ("validation_accuracy",), "validation prompts", is_share=True),
        Panel("Held-out length", ("validation_mean_tokens",), "tokens, validation prompts"),
    )
}


def panel_of(column: str) -> Panel:
    return PANEL_OF.get(column) or Panel(column.replace("_", " ").capitalize(), (column,), "")


PANELS = (
    Panel("Response length", ("mean_tokens_correct", "mean_tokens_incorrect"), "tokens; right solid, wrong dotted"),
    Panel("Accuracy and reward", ("accuracy", "reward_mean"), "means; accuracy solid, reward dotted"),
    panel_of("entropy"),
    Panel(
        "Useful signal",
        ("positive_fraction", "zero_variance_fraction"),
        "positive rollouts solid, all-equal groups dotted",
        is_share=True,
    ),
    panel_of("truncated_fraction"),
    Panel("Held-out accuracy", ("validation_accuracy",), "validation prompts", is_share=True),
    panel_of("grad_norm"),
    panel_of("kl"),
    Panel("Log-prob gap", ("logprob_gap",), "largest engine to trainer difference, log scale", is_log=True),
)


@styled
def training_dynamics(series: Sequence[RunSeries]) -> "Figure | None":
    """Small multiples over training steps, all runs in each panel; a quantity nobody recorded has no panel."""
    shown = [item for item in series if item.training_steps]
    wanted = [
        panel
        for panel in PANELS
        if any(len(column_values(item.training_steps, name)) for item in shown for name in panel.columns)
    ]
    if not wanted:
        return None
    figure, axes = panel_grid(len(wanted), columns=3, panel_height=2.15, sharex=True)
    for axis, panel in zip(axes, wanted, strict=True):
        _draw_panel(axis, panel, shown)
    for axis in axes[-3:]:
        axis.set_xlabel("training step")
    colour_legend(figure, [(item.label, series_colour(series, item)) for item in shown])
    return figure


def _draw_panel(axis: "Axes", panel: Panel, series: Sequence[RunSeries]) -> None:
    for item in series:
        for name, line_style in zip(panel.columns, ("-", ":"), strict=False):
            steps, values = column_values(item.training_steps, name, positive_only=panel.is_log).T
            _draw_line(axis, steps, values, series_colour(series, item), line_style)
    axis.set_title(panel.title, pad=17)
    axis.text(0, 1.03, panel.subtitle, transform=axis.transAxes, color=MUTED, fontsize=8)
    if panel.is_log:
        plain_log_axis(axis)
    if panel.is_share:
        axis.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")


def column_values(curve: Sequence[Row], column: str, positive_only: bool = False) -> "np.ndarray[Any, Any]":
    """Steps and values [n, 2] of one column of training_steps, without missing values."""
    pairs = [(row["step"], row[column]) for row in curve if row.get(column) is not None]
    pairs = sorted((step, value) for step, value in pairs if math.isfinite(value) and (value > 0 or not positive_only))
    return np.array(pairs, dtype=float).reshape(-1, 2)


def _draw_line(
    axis: "Axes", steps: "np.ndarray[Any, Any]", values: "np.ndarray[Any, Any]", colour: str, line_style: str
) -> None:
    if not steps.size:
        return
    if steps.size > SMOOTH_ABOVE_STEPS:
        axis.plot(steps, values, color=colour, alpha=0.22, linewidth=0.8)
        values = moving_average(values, window=2 * (steps.size // 50) + 1)
    marker = "o" if steps.size <= 12 else None
    axis.plot(steps, values, color=colour, linestyle=line_style, marker=marker, markersize=3.5)


def moving_average(values: "np.ndarray[Any, Any]", window: int) -> "np.ndarray[Any, Any]":
    """Centred mean [n] over an odd window that shrinks at both ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    positions = np.arange(values.size)
    low, high = np.maximum(positions - window // 2, 0), np.minimum(positions + window // 2 + 1, values.size)
    average: np.ndarray[Any, Any] = (sums[high] - sums[low]) / (high - low)
    return average
