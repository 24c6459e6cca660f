"""The figure of a preview: what the first step would see and push towards, setting by setting."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pipeline_lib.report.canvas import GRID, INK, MUTED, WIDTH_INCHES, styled, tokens_text
from pipeline_lib.report.data import AFTER_COLOUR, CONTROL_COLOURS
from pipeline_lib.report.figures import EASY_COLOUR, HARD_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pipeline_lib.preview.comparison import ComparedSetting, Preview

MOST_ROWS = 40
MOST_MASKING = 8
ROW_INCHES = 0.2
SECOND_COLOUR = CONTROL_COLOURS[0]
SUBSET_COLOURS = {"easy": EASY_COLOUR, "all": AFTER_COLOUR, "hard": HARD_COLOUR}


@styled
def first_step_figure(preview: "Preview") -> "Figure":
    """A line per setting: score, signal, accuracy and length; below, what the masks remove by length, and the score over L_T."""
    from matplotlib.figure import Figure

    rows = shown_rows(preview.rows)
    masking = [row for row in rows if row.step.masked_token_fraction > 0][:MOST_MASKING]
    places = _places(rows)
    dots_height, below_height = ROW_INCHES * (places[-1] + 1) + 0.75, max(2.2, 0.3 * len(masking) + 1.1)
    figure = Figure(figsize=(WIDTH_INCHES, dots_height + below_height + 0.4), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[dots_height, below_height])
    above, below = parts
    _draw_settings(above, rows, places)
    panels = below.subplots(1, 2 if masking else 1, squeeze=False)[0]
    if masking:
        _draw_masked(panels[0], masking, preview.bucket_edges)
    _draw_targets(panels[-1], preview)
    return figure


def shown_rows(rows: Sequence["ComparedSetting"]) -> list["ComparedSetting"]:
    """All rows, or the configured one and the best of many."""
    if len(rows) <= MOST_ROWS:
        return list(rows)
    best = sorted(rows[1:], key=lambda row: -row.step.score)[: MOST_ROWS - 1]
    return [rows[0], *best]


def _short(row: "ComparedSetting") -> str:
    """The label without the words that a reader of the figure can do without."""
    if row.factor == "configured":
        return row.factor
    return row.label if row.factor != "chosen" else re.sub(r"\breward |\bnegatives | prompts\b", "", row.label)


def _places(rows: Sequence["ComparedSetting"]) -> list[float]:
    """Vertical places, with a gap where the varied factor changes."""
    places = [0.0]
    for before, row in pairwise(rows):
        places.append(places[-1] + (1.0 if before.factor == row.factor else 1.5))
    return places


def _draw_settings(figure: Any, rows: Sequence["ComparedSetting"], places: Sequence[float]) -> None:
    panels = figure.subplots(1, 4, sharey=True)
    steps = [row.step for row in rows]
    titles = (
        ("Score", "± standard error", ""),
        ("Signal (%)", "● positive", "○ zero var."),
        ("Accuracy drift (pts)", "● skill", "○ all of it"),
        ("Length drift (%)", "of the mean length", ""),
    )
    for panel, (title, first, second) in zip(panels, titles, strict=True):
        panel.axhspan(places[0] - 0.5, places[0] + 0.5, color=GRID, zorder=0, linewidth=0)
        panel.set_title(title, pad=17)
        colour = AFTER_COLOUR if second else MUTED
        panel.text(0, 1.005, first, transform=panel.transAxes, color=colour, fontsize=8, va="bottom")
        panel.text(1, 1.005, second, transform=panel.transAxes, color=SECOND_COLOUR, fontsize=8, va="bottom", ha="right")
        panel.grid(axis="y", visible=False)
        panel.tick_params(axis="y", length=0)
    panels[0].errorbar(
        [step.score for step in steps], places, xerr=[step.score_error for step in steps],
        fmt="o", color=AFTER_COLOUR, markersize=4.5, elinewidth=1.1,
    )  # fmt: skip
    panels[0].set_xlim(left=min(0.0, panels[0].get_xlim()[0]))
    _dots(panels[1], places, [100 * step.zero_variance_fraction for step in steps], hollow=True)
    _dots(panels[1], places, [100 * step.positive_fraction for step in steps])
    panels[1].set_xlim(-4, 104)
    _dots(panels[2], places, [100 * step.accuracy_drift for step in steps], hollow=True)
    _dots(panels[2], places, [100 * step.skill for step in steps])
    _dots(panels[3], places, [-100 * step.brevity for step in steps])
    for panel in panels[2:]:
        panel.axvline(0, color=INK, linewidth=0.8, zorder=1)
    panels[0].set_yticks(places, [_short(row) for row in rows])
    panels[0].get_yticklabels()[0].set_fontweight("bold")
    panels[0].tick_params(axis="y", labelcolor=INK)
    panels[0].set_ylim(places[-1] + 0.7, -0.7)


def _dots(panel: "Axes", places: Sequence[float], values: Sequence[float], hollow: bool = False) -> None:
    colour = SECOND_COLOUR if hollow else AFTER_COLOUR
    panel.plot(
        values, places, linestyle="none", marker="o", markersize=5 if hollow else 4.5, color=colour,
        markerfacecolor="white" if hollow else colour, markeredgewidth=1.2, zorder=3,
    )  # fmt: skip


def _draw_masked(panel: "Axes", rows: Sequence["ComparedSetting"], edges: Sequence[int]) -> None:
    """Share of tokens kept out of the loss: a line per setting, a column per length bucket."""
    from pipeline_lib.preview.table import bucket_names

    shares = [[float("nan") if share is None else share for share in row.step.masked_token_fraction_by_bucket] for row in rows]
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=2.2, aspect="auto")
    for line, values in enumerate(shares):
        for column, share in enumerate(values):
            text = "–" if share != share else f"{100 * share:.0f}"
            panel.text(column, line, text, ha="center", va="center", fontsize=8, color=INK)
    panel.set_xticks(range(len(edges)), bucket_names(edges))
    panel.set_yticks(range(len(rows)), [_short(row) for row in rows])
    panel.tick_params(length=0, labelcolor=INK)
    panel.grid(visible=False)
    panel.set_title("Tokens kept out of the loss (%)")
    panel.set_xlabel("length of the rollout (tokens)")


def _draw_targets(panel: "Axes", preview: "Preview") -> None:
    """Score against L_T with L_R = L_T, a line a subset; the recommendation is ringed."""
    found = preview.recommendation
    panel.set_title("Which $L_T$ (= $L_R$)?")
    if found is None:
        panel.text(0.5, 0.5, "no rollout is correct", transform=panel.transAxes, ha="center", color=MUTED)
        return
    ends: list[tuple[int, float, str, str]] = []
    for subset, colour in SUBSET_COLOURS.items():
        steps = [step for step in found.candidates if step.setting.subset == subset]
        if steps:
            targets, scores = [step.setting.target_tokens for step in steps], [step.score for step in steps]
            panel.plot(targets, scores, color=colour, marker="o", markersize=4)
            ends.append((targets[-1], scores[-1], subset, colour))
    chosen = found.step.setting
    panel.plot(
        chosen.target_tokens, found.step.score, marker="o", markersize=11, markerfacecolor="none", markeredgecolor=INK,
        markeredgewidth=1.3, linestyle="none",
    )  # fmt: skip
    panel.annotate(
        f"recommended: {chosen.subset}, {tokens_text(chosen.target_tokens)}",
        (chosen.target_tokens, found.step.score), xytext=(0, 11), textcoords="offset points", ha="center", fontsize=8.5,
    )  # fmt: skip
    highest = max(step.score for step in found.candidates) + 1
    lowest_label = 0.06 * highest
    for target, score, subset, colour in sorted(ends, key=lambda end: end[1]):
        place = max(score, lowest_label)
        panel.text(target, place, f"  {subset}", color=colour, va="center", fontsize=8.5, fontweight="bold")
        lowest_label = place + 0.1 * highest
    panel.set_ylim(0, 1.2 * highest)
    panel.margins(x=0.12)
    panel.xaxis.set_major_formatter(lambda value, _: tokens_text(value))
    panel.set_xlabel("target $L_T$ (tokens)")
    panel.set_ylabel("score")
