"""Where the tokens of right and wrong responses go: a picture, and the table to it. Rows are those of the query `anatomy_of_runs`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline_lib.report.canvas import INK, MUTED, panel_grid, styled, tokens_text
from pipeline_lib.report.data import ExtraTable, Model, Row, benchmark_names, grouped
from pipeline_lib.report.summary import hundredths, tokens_cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY = "#C9CDD2"
BAR_INCHES = 0.24
# Column, how it is drawn, and what it is.
PARTS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("before_answer", {}, "until the right answer first stands there"),
    ("after_answer", {"alpha": 0.35, "hatch": "////"}, "after it"),
    ("without_answer", {"color": GREY}, "in responses without it"),
    ("untold", {"color": "white"}, "cannot be told"),
)
NOTE = (
    "Told from the texts. The right answer may stand somewhere by accident, so the tokens until it are a lower bound and those "
    "after it (overthinking) an upper one. Restarts are phrases such as “wait” or “alternatively” at the start of a clause; "
    "repeated is the share of words in runs of sixteen that occurred before in the response."
)


@styled
def token_anatomy(models: Sequence[Model]) -> "Figure | None":
    """Mean tokens of right and of wrong responses by what they are spent on, a panel per benchmark, two bars per model."""
    rows = [row for model in models for row in model.rows]
    if not rows:
        return None
    benchmarks = benchmark_names(rows)
    bars = [[(model, row) for model in models for row in model.on(benchmark).rows] for benchmark in benchmarks]
    height = 0.8 + BAR_INCHES * max(map(len, bars))
    figure, panels = panel_grid(len(benchmarks), columns=1, panel_height=height)
    for panel, benchmark, shown in zip(panels, benchmarks, bars, strict=True):
        _draw(panel, benchmark, shown)
    panels[-1].set_xlabel("mean tokens of a response")
    _legend(figure)
    return figure


def _draw(panel: "Axes", benchmark: str, bars: Sequence[tuple[Model, Row]]) -> None:
    widest = max(row["mean_tokens"] for _, row in bars)
    for place, (model, row) in enumerate(bars):
        left = 0.0
        for column, look, _ in PARTS:
            style = {"color": model.colour, "edgecolor": INK, "linewidth": 0.5} | look
            panel.barh(place, row[column], left=left, height=0.72, **_filled(style))
            left += row[column]
        facts = f"{row['restarts']:.1f} restarts, {100 * row['repeated_fraction']:.0f} % repeated, {100 * row['cut_fraction']:.0f} % cut"
        panel.text(left + 0.01 * widest, place, facts, va="center", fontsize=7.5, color=MUTED)
    names = [f"{model.label}, {'right' if row['correct'] else 'wrong'} ({row['num_rollouts']:,})" for model, row in bars]
    panel.set_yticks(range(len(bars)), names)
    panel.invert_yaxis()
    panel.grid(axis="y", visible=False)
    panel.set_xlim(right=1.6 * widest)
    panel.xaxis.set_major_formatter(lambda value, _: tokens_text(value))
    panel.set_title(benchmark)


def _filled(style: dict[str, Any]) -> dict[str, Any]:
    """Bars whose edges are as dark as they are said to be, however pale the filling is."""
    from matplotlib.colors import to_rgba

    return {key: value for key, value in style.items() if key not in ("color", "alpha")} | {
        "facecolor": to_rgba(style["color"], style.get("alpha", 1.0))
    }


def _legend(figure: "Figure") -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(label=label, **_filled({"color": MUTED, "edgecolor": INK, "linewidth": 0.5} | look)) for _, look, label in PARTS
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), fontsize=9)


def anatomy_table(models: Sequence[Model]) -> ExtraTable | None:
    """The same as numbers; None without any."""
    rows = [(model, row) for model in models for row in model.rows]
    if not rows:
        return None
    order = list(grouped([row for _, row in rows], "benchmark"))
    rows.sort(key=lambda pair: order.index(pair[1]["benchmark"]))
    columns = (
        "benchmark, model",
        "verdict",
        "responses",
        "tokens",
        "until",
        "after",
        "without",
        "restarts",
        "repeated %",
        "cut %",
    )
    return ExtraTable("Where the tokens go, in numbers", columns, [_line(model, row) for model, row in rows], NOTE)


def _line(model: Model, row: Row) -> tuple[str, ...]:
    return (
        f"{row['benchmark']}, {model.label}",
        "right" if row["correct"] else "wrong",
        f"{row['num_rollouts']:,}",
        *(tokens_cell(row[column]) for column in ("mean_tokens", "before_answer", "after_answer", "without_answer")),
        f"{row['restarts']:.2f}",
        hundredths(row["repeated_fraction"]),
        hundredths(row["cut_fraction"]),
    )
