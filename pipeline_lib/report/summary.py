"""The numbers of the report as text: headline figures, the table by budget, how a training step's time is spent."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline_lib.report.canvas import tokens_text
from pipeline_lib.report.data import Model, ReportData, Row, RunSeries, benchmark_names, compared_models

MISSING = "–"
MINUS = "\N{MINUS SIGN}"
LENGTH_COLUMNS = ("mean_tokens", "mean_tokens_correct", "mean_tokens_incorrect", "tokens_per_correct")
Show = Callable[[Any], str]
Change = Callable[[Any, Any], str]
STEP_PARTS = (("generation", "generation_seconds"), ("update", "update_seconds"), ("weight sync", "sync_seconds"))


@dataclass(frozen=True, slots=True)
class Headline:
    """One figure of merit: before → after, the change, whether that is for the better, and the control's values."""

    title: str
    before: str
    after: str
    change: str
    verdict: Literal["better", "worse", "unchanged", ""] = ""
    note: str = ""
    controls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BudgetTable:
    """One benchmark: a row per model. A cell is (text, small text below it)."""

    benchmark: str
    columns: tuple[str, ...]
    rows: tuple["BudgetTableRow", ...]


@dataclass(frozen=True, slots=True)
class BudgetTableRow:
    """The cells of one model, or of the difference between two (then without a colour)."""

    label: str
    colour: str
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class StepTime:
    """Mean seconds of a training step and the share (0-1) of each part, in the order of work."""

    label: str
    num_steps: int
    seconds: float
    tokens_per_second: float | None
    shares: tuple[tuple[str, float], ...]


def headlines(data: ReportData, benchmark: str) -> list[Headline]:
    """Length, accuracy at the largest budget and at the budget nearest the target, for one benchmark; empty without both models."""
    models = [model.on(benchmark) for model in compared_models(data.series, data.budget_results)]
    before, after = (
        next((_by_budget(model) for model in models if model.role == role and model.rows), {}) for role in ("before", "after")
    )
    shared = sorted(set(before) & set(after))
    if not shared:
        return []

    def headline(title: str, budget: int, column: str, show: Show, change: Change, less_is_better: bool = True) -> Headline:
        old, new = before[budget].get(column), after[budget].get(column)
        others = tuple(
            f"{model.label}: {show(row.get(column))} ({change(old, row.get(column))})"
            for model in models
            if model.role == "control" and (row := _by_budget(model).get(budget))
        )
        note = _price(before[budget], after[budget]) if column == "tokens_per_correct" else ""
        verdict = _verdict(change(old, new), less_is_better)
        if (old is None) != (new is None):  # tokens per right answer, without any right one
            verdict = "worse" if new is None else "better"
        return Headline(title, show(old), show(new), change(old, new), verdict, note, others)

    def accuracy(budget: int, which: str) -> Headline:
        return headline(f"Accuracy at {budget:,} tokens, {which}", budget, "mean_at_k", _percent, _points, less_is_better=False)

    largest, target = shared[-1], data.run.target_tokens
    result = [
        headline("Mean response length (tokens)", largest, "mean_tokens", tokens_cell, percent_change),
        accuracy(largest, "the largest budget"),
    ]
    if target is not None:
        nearest = min(shared, key=lambda budget: abs(math.log2(budget / target)))
        if nearest != largest:
            which = "the target length" if nearest == target else f"nearest the target of {target:,}"
            result.append(accuracy(nearest, which))
    if after[largest].get("tokens_per_correct") or before[largest].get("tokens_per_correct"):
        title = f"Tokens per right answer, within {largest:,} tokens"
        result.append(headline(title, largest, "tokens_per_correct", tokens_cell, percent_change))
    return result


def _verdict(change: str, less_is_better: bool) -> Literal["better", "worse", "unchanged", ""]:
    """What a change means, as it is shown: one that rounds to nothing is none."""
    if change == MISSING:
        return ""
    if not change.startswith(("+", MINUS)):
        return "unchanged"
    return "better" if change.startswith(MINUS) == less_is_better else "worse"


def _price(before: Row, after: Row) -> str:
    prices = [row.get("cost_per_1000_correct") for row in (before, after)]
    if prices == [None, None]:
        return ""
    shown = " → ".join(MISSING if price is None else f"{price:,.4g}" for price in prices)
    return f"1,000 right answers: {shown} {after.get('currency') or ''}".rstrip()


def budget_tables(data: ReportData) -> list[BudgetTable]:
    """The table of each benchmark, with the change from before to after where both models are there."""
    models = compared_models(data.series, data.budget_results)
    return [budget_table(benchmark, models, with_change=True) for benchmark in benchmark_names(data.budget_results)]


def budget_table(benchmark: str, models: Sequence[Model], with_change: bool = False) -> BudgetTable:
    """Accuracy at every budget, then mean length of all, right and wrong responses, tokens per right one, cut share; a row per model."""
    own = [shown for model in models if (shown := model.on(benchmark)).rows]
    budgets = sorted({row["budget_tokens"] for model in own for row in model.rows})
    columns = (*(tokens_text(budget) for budget in budgets), "Pass@k", "all", "right", "wrong", "per right", "cut")
    rows = [BudgetTableRow(model.label, model.colour, _model_cells(model, budgets)) for model in own]
    roles = {model.role: model for model in own}
    if with_change and "before" in roles and "after" in roles:
        cells = _difference_cells(roles["before"], roles["after"], budgets)
        rows.append(BudgetTableRow("change, before → after", "", cells))
    return BudgetTable(benchmark, columns, tuple(rows))


def _model_cells(model: Model, budgets: Sequence[int]) -> tuple[tuple[str, str], ...]:
    by_budget = _by_budget(model)
    cells = []
    for budget in budgets:
        row = by_budget.get(budget)
        interval = f"{hundredths(row['ci_low'])}–{hundredths(row['ci_high'])}" if row else ""
        cells.append((hundredths(row["mean_at_k"]) if row else MISSING, interval))
    last = by_budget[max(by_budget)]
    lengths = [(tokens_cell(last.get(key)), "") for key in LENGTH_COLUMNS]
    return (*cells, (hundredths(last["pass_at_k"]), ""), *lengths, (hundredths(last["truncated_fraction"]), ""))


def _difference_cells(before: Model, after: Model, budgets: Sequence[int]) -> tuple[tuple[str, str], ...]:
    old, new = _by_budget(before), _by_budget(after)
    first, last = old[max(old)], new[max(new)]
    accuracy = [
        (signed(100 * (new[budget]["mean_at_k"] - old[budget]["mean_at_k"])), "points")
        if budget in old and budget in new
        else (MISSING, "")
        for budget in budgets
    ]
    lengths = [(percent_change(first.get(key), last.get(key)), "") for key in LENGTH_COLUMNS]
    passed, cut = (signed(100 * (last[key] - first[key])) for key in ("pass_at_k", "truncated_fraction"))
    return (*accuracy, (passed, "points"), *lengths, (cut, "points"))


def step_time(item: RunSeries) -> StepTime | None:
    """How the mean training step of a run divides into generation, update, weight sync and the rest."""
    rows = [row for row in item.training_steps if all(row.get(column) is not None for _, column in STEP_PARTS)]
    if not rows:
        return None
    parts = [(name, sum(row[column] for row in rows)) for name, column in STEP_PARTS]
    parts.append(("other", sum(row.get("other_seconds") or 0.0 for row in rows)))
    total = sum(seconds for _, seconds in parts)
    if total <= 0:
        return None
    speeds = [row["tokens_per_second"] for row in rows if row.get("tokens_per_second") is not None]
    mean_speed = sum(speeds) / len(speeds) if speeds else None
    return StepTime(
        item.label, len(rows), total / len(rows), mean_speed, tuple((name, seconds / total) for name, seconds in parts)
    )


def duration_text(seconds: float | None) -> str:
    """Seconds as 8.4 s, 3 min 05 s or 2 h 07 min."""
    if seconds is None:
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _by_budget(model: Model) -> dict[int, Row]:
    return {row["budget_tokens"]: row for row in model.rows}


def tokens_cell(value: float | None) -> str:
    if value is None:
        return MISSING
    return f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def hundredths(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _percent(fraction: float) -> str:
    return f"{hundredths(fraction)} %"


def _points(old: float, new: float) -> str:
    return f"{signed(100 * (new - old))} points"


def percent_change(old: float | None, new: float | None) -> str:
    return MISSING if not old or new is None else signed(100 * (new / old - 1)) + " %"


def signed(value: float) -> str:
    text = f"{abs(value):.1f}"
    return text if text == "0.0" else f"{'+' if value > 0 else MINUS}{text}"
