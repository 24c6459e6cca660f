"""The pictures of recorded rollouts: accuracy against budget, a line per model, and where their tokens go; a panel per benchmark."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_lib.report.anatomy import token_anatomy
from pipeline_lib.report.canvas import COLOURS, budget_axes, colour_legend, panel_grid, save_png, styled
from pipeline_lib.report.data import Model, Row, benchmark_names, grouped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OTHERS = "#C9CDD2"
OFFSET = 0.05


def draw_recorded(table: Sequence[Row], path: Path) -> Path:
    """Draw the rows of the query `budget_table` and write the picture; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = accuracy_of_models(table)
    assert figure is not None
    return save_png(figure, path)


def draw_recorded_anatomy(table: Sequence[Row], anatomy: Sequence[Row], path: Path) -> Path:
    """Draw the rows of the query `anatomy_of_runs`, the models in the colours of their curves; returns the picture's path."""
    colours = _colours(table)
    models = [
        Model("after", name, colours.get(name, OTHERS), 0, tuple(rows)) for name, rows in grouped(anatomy, "model").items()
    ]
    figure = token_anatomy(models)
    assert figure is not None
    return save_png(figure, path)


@styled
def accuracy_of_models(table: Sequence[Row]) -> "Figure | None":
    """Accuracy (Mean@k) with 95 % intervals against the token budget.

    Colours go to the models with most benchmarks, then the highest accuracy at the largest budget; the others are grey.
    """
    benchmarks = benchmark_names(table)
    colours = _colours(table)
    figure, panels = panel_grid(len(benchmarks), columns=min(3, len(benchmarks)), panel_height=3.2, sharey=True)
    for panel, benchmark in zip(panels, benchmarks, strict=True):
        own = sorted((row for row in table if row["benchmark"] == benchmark), key=lambda row: row["budget_tokens"])
        shown = sorted({row["model"] for row in own}, key=lambda model: (model in colours, model))
        for model in shown:
            points = [row for row in own if row["model"] == model]
            offset = OFFSET * (list(colours).index(model) - (len(colours) - 1) / 2) if model in colours else 0.0
            _draw_model(panel, points, colours.get(model), offset)
        ticks = sorted({row["budget_tokens"] for row in own})
        problems = max(row["num_prompts"] for row in own)
        budget_axes(panel, f"{benchmark} ({problems} problems)", ticks, top=100)
    for panel in panels[:: min(3, len(benchmarks))]:
        panel.set_ylabel("accuracy (Mean@k)")
    others = [("other models", OTHERS)] if len({row["model"] for row in table}) > len(colours) else []
    colour_legend(figure, [*colours.items(), *others], columns=2)
    return figure


def _draw_model(panel: "Axes", points: Sequence[Row], colour: str | None, offset: float) -> None:
    """A line through one model's points; with a colour also the intervals, moved aside by `offset` octaves to stay apart."""
    budgets = [row["budget_tokens"] * 2**offset for row in points]
    accuracy, low, high = ([100 * row[key] for row in points] for key in ("mean_at_k", "ci_low", "ci_high"))
    panel.plot(budgets, accuracy, color=colour or OTHERS, marker="o", markersize=3.5, linewidth=1.5, zorder=3 if colour else 2)
    if colour:
        panel.vlines(budgets, low, high, color=colour, alpha=0.45, linewidth=1.1)


def _colours(table: Sequence[Row]) -> dict[str, str]:
    widest = max(row["budget_tokens"] for row in table)
    ranking: dict[str, tuple[int, float]] = {}
    for row in table:
        if row["budget_tokens"] == widest:
            count, total = ranking.get(row["model"], (0, 0.0))
            ranking[row["model"]] = (count + 1, total + row["mean_at_k"])
    ranked = sorted(ranking, key=lambda model: (-ranking[model][0], -ranking[model][1] / ranking[model][0], model))
    return dict(zip(ranked, COLOURS, strict=False))
