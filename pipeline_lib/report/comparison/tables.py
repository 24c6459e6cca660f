"""The tables of a comparison as text."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline_lib.report.canvas import tokens_text
from pipeline_lib.report.comparison.data import ComparedRun, Comparison, PairedDifference
from pipeline_lib.report.data import Model, Row
from pipeline_lib.report.summary import (
    MISSING,
    BudgetTable,
    BudgetTableRow,
    hundredths,
    model_cells,
    percent_change,
    signed,
    tokens_cell,
)


@dataclass(frozen=True, slots=True)
class RunLine:
    """A line of the overview. `values` are in the order of the page's columns; `is_dashed` tells runs of one colour apart."""

    run: ComparedRun
    colour: str
    is_dashed: bool
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DifferenceTable:
    """One benchmark: a row a run, of (text, small text below it, whether the interval leaves out zero)."""

    benchmark: str
    columns: tuple[str, ...]
    rows: tuple[tuple[ComparedRun, int, tuple[tuple[str, str, bool], ...]], ...]


def overview(comparison: Comparison) -> list[RunLine]:
    """Reward, L_T, steps, status; then on the first benchmark at the largest budget: tokens, their change, accuracy."""
    benchmark = comparison.benchmarks[0] if comparison.benchmarks else ""
    lines = []
    for run in comparison.runs:
        reward = run.config.get("reward", {})
        before, after = (_widest(rows, benchmark) for rows in (run.rows_at(0), run.last_rows))
        change = percent_change(before["mean_tokens"], after["mean_tokens"]) if before and after else MISSING
        lines.append(
            RunLine(
                run,
                run.look.colour,
                run.look.line_style != "-",
                (
                    str(reward.get("name", MISSING)),
                    str(reward.get("target_tokens", MISSING)),
                    str(max((row["step"] for row in run.curve), default=0)),
                    run.status,
                    str(len(run.alarms)),
                    tokens_cell(after["mean_tokens"]) if after else MISSING,
                    change,
                    f"{hundredths(after['mean_at_k'])} %" if after else MISSING,
                ),
            )
        )
    return lines


def _widest(rows: Sequence[Row], benchmark: str) -> Row | None:
    own = [row for row in rows if row["benchmark"] == benchmark]
    return max(own, key=lambda row: row["budget_tokens"], default=None)


def comparison_budget_tables(comparison: Comparison) -> list[BudgetTable]:
    """Per benchmark: the base, then every evaluated model of every run, as in the report of one run."""
    tables = []
    for benchmark in comparison.benchmarks:
        models = [Model("before", base.look.label, base.look.colour, 0, tuple(base.rows)) for base in comparison.bases]
        for run in comparison.runs:
            models += [
                Model("after", f"{run.key}  {run.label}, step {step}", run.look.colour, step, tuple(run.rows_at(step)))
                for step in run.steps
            ]
        own = [(model, tuple(row for row in model.rows if row["benchmark"] == benchmark)) for model in models]
        shown = [Model(model.role, model.label, model.colour, model.step, rows) for model, rows in own if rows]
        budgets = sorted({row["budget_tokens"] for model in shown for row in model.rows})
        columns = (*(tokens_text(budget) for budget in budgets), "Pass@k", "all", "right", "wrong", "cut")
        rows = tuple(BudgetTableRow(model.label, model.colour, model_cells(model, budgets)) for model in shown)
        tables.append(BudgetTable(benchmark, columns, rows))
    return tables


def difference_tables(comparison: Comparison) -> list[DifferenceTable]:
    """Per benchmark: every other run minus the first, accuracy in points at each budget, then tokens."""
    runs = {run.key: run for run in comparison.runs}
    tables = []
    for benchmark in dict.fromkeys(each.benchmark for each in comparison.differences):
        own = [each for each in comparison.differences if each.benchmark == benchmark]
        budgets = sorted({budget for each in own for budget in each.accuracy})
        rows = tuple((runs[each.key], each.num_prompts, _difference_cells(each, budgets)) for each in own)
        tables.append(DifferenceTable(benchmark, (*(tokens_text(budget) for budget in budgets), "mean tokens"), rows))
    return tables


def _difference_cells(each: PairedDifference, budgets: Sequence[int]) -> tuple[tuple[str, str, bool], ...]:
    points = [tuple(100 * value for value in each.accuracy[budget]) if budget in each.accuracy else None for budget in budgets]
    return tuple(_interval_cell(triple) for triple in (*points, each.tokens))


def _interval_cell(triple: Sequence[float] | None) -> tuple[str, str, bool]:
    if triple is None:
        return MISSING, "", False
    value, low, high = triple
    return signed(value), f"{signed(low)} to {signed(high)}", low > 0 or high < 0
