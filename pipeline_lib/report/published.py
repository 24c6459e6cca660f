"""What others report of a published model, beside what the budget sweep measured of it."""

from collections.abc import Sequence

from pipeline_lib.config import PublishedConfig
from pipeline_lib.report.data import ExtraTable, Row
from pipeline_lib.report.summary import MISSING, tokens_cell

TITLE = "Beside what is reported of these models"
NOTE = "Accuracy in percent and mean length at the largest budget; in brackets the 95 % interval over prompts."


def beside_reported(published: PublishedConfig | None, points: Sequence[Row]) -> list[dict[str, str]]:
    """A row a reported model and benchmark; `points` are rows of the query `budget_table` for one run."""
    rows = []
    for reported in published.reported if published else ():
        own = [row for row in points if (row["benchmark"], row["step"]) == (reported.benchmark, reported.step)]
        measured = max(own, key=lambda row: row["budget_tokens"], default=None)
        shown = {
            "benchmark": reported.benchmark,
            "model": measured["model"] if measured else MISSING,
            "step": str(reported.step),
        }
        for name, show in (("mean_at_k", _percent), ("pass_at_k", _percent), ("mean_tokens", tokens_cell)):
            stated = getattr(reported, name)
            shown[f"{name} reported"] = MISSING if stated is None else show(stated)
            shown[f"{name} measured"] = show(measured[name]) if measured else MISSING
        if measured:
            shown["mean_at_k measured"] += f" ({_percent(measured['ci_low'])}–{_percent(measured['ci_high'])})"
        rows.append({**shown, "stated in": reported.stated_in})
    return rows


def reported_tables(published: PublishedConfig | None, points: Sequence[Row]) -> list[ExtraTable]:
    """The same as a table of the report, if there is something to show."""
    rows = beside_reported(published, points)
    return [ExtraTable(TITLE, list(rows[0]), [list(row.values()) for row in rows], NOTE)] if rows else []


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}"  # as many digits as papers give
