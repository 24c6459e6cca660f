"""Mean tokens against accuracy, a panel per budget: which models no other beats in both."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline_lib.report.canvas import INK, MUTED, panel_grid, styled, tokens_text
from pipeline_lib.report.comparison.data import Comparison
from pipeline_lib.report.data import Row
from pipeline_lib.report.finding import Stroke, line_legend
from pipeline_lib.rewards.base import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

BASE_LABEL = "base"
FRONT_COLOUR = "#B9C0C7"
# Where a label may stand around its point: directions, and distances in points; the nearest free place is taken.
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7))
DISTANCES = (9.0, 14.0, 20.0, 27.0)
POINT_PIXELS = 9.0
LINE_PIXELS = 4.0
# Panels are at least so wide (share of the longest) and high (points): what differs less is the same for a reader.
LEAST_WIDTH = 0.1
LEAST_HEIGHT = 5.0


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (tokens, accuracy) points that no other beats: none is as short and as accurate, and better in one.

    In rising order of tokens; of equal points all are on the front.
    """
    front = []
    for place, (tokens, accuracy) in enumerate(points):
        beaten = any(
            other[0] <= tokens and other[1] >= accuracy and (other[0] < tokens or other[1] > accuracy) for other in points
        )
        if not beaten:
            front.append(place)
    return sorted(front, key=lambda place: points[place])


@styled
def pareto_figure(comparison: Comparison, benchmark: str) -> "Figure | None":
    """One benchmark: a panel per budget; filled the last model of a run, open its earlier ones, black the base, grey the front."""
    budgets = sorted({row["budget_tokens"] for run in comparison.runs for row in run.budgets if row["benchmark"] == benchmark})
    if not budgets:
        return None
    figure, panels = panel_grid(len(budgets), columns=3, panel_height=2.7)
    labels = [(panel, _draw_panel(panel, comparison, benchmark, budget)) for panel, budget in zip(panels, budgets, strict=True)]
    for place, panel in enumerate(panels):
        panel.set_xlabel("mean tokens" if place >= len(panels) - 3 else "")
        panel.set_ylabel("accuracy (Mean@k)" if place % 3 == 0 else "")
    line_legend(
        figure,
        [
            *(base.look for base in comparison.bases),
            *(run.named_look for run in comparison.runs),
            Stroke("Pareto front", FRONT_COLOUR),
        ],
    )
    figure.draw_without_rendering()  # labels need to know where the panels end up
    for panel, annotations in labels:
        _place_labels(panel, annotations)
    return figure


def _draw_panel(panel: "Axes", comparison: Comparison, benchmark: str, budget: int) -> "list[Annotation]":
    labels, points, rows = [], [], []
    for base in comparison.bases:
        text = BASE_LABEL if len(comparison.bases) == 1 else base.label
        for row in _at(base.rows, benchmark, budget):
            rows.append(row)
            points.append(_draw_point(panel, row, INK, filled=True, marker="s"))
            labels.append(_label(panel, row, text, INK))
    for run in comparison.runs:
        for step in run.steps:
            is_last = step == run.steps[-1]
            for row in _at(run.rows_at(step), benchmark, budget):
                rows.append(row)
                points.append(_draw_point(panel, row, run.look.colour, filled=is_last and run.look.line_style == "-"))
                if is_last:
                    labels.append(_label(panel, row, run.key, run.look.colour))
    front = [points[place] for place in pareto_front(points)]
    # The rings show a front of a single model, too.
    panel.plot(*zip(*front, strict=True), color=FRONT_COLOUR, linewidth=3.5, marker="o", markersize=11, zorder=1)
    panel.set_title(f"within {tokens_text(budget)} tokens")
    _set_limits(panel, rows)
    return labels


def _set_limits(panel: "Axes", rows: Sequence[Row]) -> None:
    """Room around the points and their intervals for labels; no tick below zero."""
    tokens = [row["mean_tokens"] for row in rows]
    low, high = 100 * min(row["ci_low"] for row in rows), 100 * max(row["ci_high"] for row in rows)
    width = max(max(tokens) - min(tokens), LEAST_WIDTH * max(tokens))
    height = max(high - low, LEAST_HEIGHT)
    middle = (max(tokens) + min(tokens)) / 2
    panel.set_xlim(middle - 0.66 * width, middle + 0.66 * width)
    panel.set_ylim(low - 0.12 * height, low + 1.1 * height)
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:g} %" if value >= 0 else "")


def _at(rows: Sequence[Row], benchmark: str, budget: int) -> list[Row]:
    return [row for row in rows if row["benchmark"] == benchmark and row["budget_tokens"] == budget]


def _draw_point(panel: "Axes", row: Row, colour: str, filled: bool, marker: str = "o") -> tuple[float, float]:
    tokens, accuracy = row["mean_tokens"], 100 * row["mean_at_k"]
    panel.vlines(tokens, 100 * row["ci_low"], 100 * row["ci_high"], color=colour, alpha=0.4, linewidth=1.2, zorder=2)
    face = colour if filled else "white"
    panel.plot(tokens, accuracy, marker=marker, markersize=6, color=colour, markerfacecolor=face, linestyle="none", zorder=3)
    return tokens, accuracy


def _label(panel: "Axes", row: Row, text: str, colour: str) -> "Annotation":
    from matplotlib.patheffects import withStroke

    arrow = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 3}
    label = panel.annotate(
        text,
        (row["mean_tokens"], 100 * row["mean_at_k"]),
        xytext=(0, 0),
        textcoords="offset points",
        ha="center",
        va="center",
        color=colour,
        fontsize=9,
        fontweight="bold",
        zorder=5,
        arrowprops=arrow,
    )
    label.set_path_effects([withStroke(linewidth=2, foreground="white")])  # readable on lines and intervals
    return label


def _place_labels(panel: "Axes", labels: "Sequence[Annotation]") -> None:
    """Put every label at the nearest place where it covers no point and no other label, and stays in its panel."""
    from matplotlib.transforms import Bbox

    inside = panel.get_window_extent()
    anchors = [panel.transData.transform(label.xy) for label in labels]
    taken = [
        Bbox.from_bounds(x - size / 2, y - size / 2, size, size)
        for line in panel.lines
        for size, points in ((POINT_PIXELS, _drawn(panel, line)), (LINE_PIXELS, _between(_drawn(panel, line), line)))
        for x, y in points
    ]
    scale = panel.figure.dpi / 72
    for label, (x, y) in zip(labels, anchors, strict=True):
        width, height = 6.5 * scale * len(label.get_text()), 9 * scale
        candidates = []
        for distance in DISTANCES:
            for right, up in DIRECTIONS:
                offset = (right * (distance + 3.25 * (len(label.get_text()) - 1)), up * distance)
                centre = (x + offset[0] * scale, y + offset[1] * scale)
                box = Bbox.from_bounds(centre[0] - width / 2, centre[1] - height / 2, width, height)
                candidates.append((_cost(box, taken, inside), distance, offset, box))
        cost_and_more: Any = min(candidates, key=lambda candidate: (candidate[0], candidate[1]))
        _, distance, offset, box = cost_and_more
        label.set_position(offset)
        if distance == DISTANCES[0] and label.arrow_patch is not None:
            label.arrow_patch.set_visible(False)
        taken.append(box)


def _drawn(panel: "Axes", line: "Line2D") -> FloatArray:
    """The points [n, 2] of a line in pixels."""
    return np.asarray(panel.transData.transform(line.get_xydata()))


def _between(points: FloatArray, line: "Line2D") -> FloatArray:
    """Places along a line that is drawn as one, so that no label stands on it."""
    if line.get_linestyle() == "None" or len(points) < 2:
        return np.empty((0, 2))
    shares = np.linspace(0, 1, 16)[:, None]
    return np.concatenate([start + shares * (end - start) for start, end in itertools.pairwise(points)])


def _cost(box: "Bbox", taken: "Sequence[Bbox]", inside: "Bbox") -> float:
    """How much of a label's box is covered by others or stands outside the panel (square pixels)."""
    outside = box.width * box.height - _overlap(box, inside)
    return outside + sum(_overlap(box, other) for other in taken)


def _overlap(one: "Bbox", other: "Bbox") -> float:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return float(max(0.0, width) * max(0.0, height))
