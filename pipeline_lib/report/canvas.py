"""The look that all figures of the report share: style, panels, legend, PNG."""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_lib.files.whole_files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 200
WIDTH_INCHES = 9.6
INK = "#24292F"
MUTED = "#6B7280"
GRID = "#E5E7EB"
# Okabe and Ito's palette: told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5B4B8A", "#8C6D31")

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}

FigureMaker = Callable[..., "Figure | None"]


def styled(make: FigureMaker) -> FigureMaker:
    """Draw with this module's style, leaving matplotlib's own settings alone."""

    @functools.wraps(make)
    def draw(*arguments: Any, **keywords: Any) -> "Figure | None":
        import matplotlib

        with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
            return make(*arguments, **keywords)

    return draw


def save_png(figure: "Figure", path: Path) -> Path:
    """Write a figure as PNG at 200 dots per inch."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png", metadata={"Software": None})
    return path


def tokens_text(tokens: float) -> str:
    """A number of tokens for an axis: 48, 1.5k, 16k."""
    if tokens < 1000:
        return f"{tokens:g}"
    thousands = tokens / (1024 if tokens % 1024 == 0 else 1000)
    return f"{thousands:.3g}k"


def panel_grid(
    num_panels: int, columns: int, panel_height: float, sharex: bool = False, sharey: bool = False
) -> tuple["Figure", list["Axes"]]:
    """A figure of equal panels, row by row; sizes in inches."""
    from matplotlib.figure import Figure

    columns = min(columns, num_panels)
    rows = math.ceil(num_panels / columns)
    figure = Figure(figsize=(WIDTH_INCHES, panel_height * rows + 0.45), layout="constrained")
    axes = list(figure.subplots(rows, columns, sharex=sharex, sharey=sharey, squeeze=False).flat)
    for unused in axes[num_panels:]:
        unused.remove()
    for above_unused in axes[num_panels - columns : num_panels]:
        above_unused.tick_params(labelbottom=True)
    return figure, axes[:num_panels]


def budget_axes(panel: "Axes", title: str, budgets_tokens: Sequence[int], top: float | None = None) -> None:
    """Token budgets along a logarithmic x axis, one tick each, and accuracy in percent from 0 to `top` (None: as drawn)."""
    panel.set_xscale("log", base=2)
    panel.set_xticks(budgets_tokens, [tokens_text(budget) for budget in budgets_tokens])
    panel.minorticks_off()
    panel.set_title(title)
    panel.set_xlabel("token budget (log scale)")
    panel.set_ylim(bottom=0, top=top)
    percent_axis(panel)


def colour_legend(figure: "Figure", entries: Sequence[tuple[str, str]], columns: int | None = None) -> None:
    """Name the colours above the panels, in one line or in some columns; entries are label and colour."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, linewidth=3, label=label) for label, colour in entries]
    figure.legend(
        handles=handles, loc="outside upper left", ncols=columns or max(1, len(handles)), handlelength=1.2, fontsize=9
    )


def percent_axis(panel: "Axes") -> None:
    """Numbers on the y axis, which are percent, with their sign."""
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")


def plain_log_axis(axis: "Axes") -> None:
    """A logarithmic y axis with ticks at 1, 2 and 5 (only powers of ten when it spans many), in plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_yscale("log")
    low, high = axis.get_ylim()
    subdivisions = (1.0, 2.0, 5.0) if math.log10(high / low) < 2 else (1.0,)
    axis.yaxis.set_major_locator(LogLocator(base=10, subs=subdivisions, numticks=12))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
