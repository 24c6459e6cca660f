"""The tables of a comparison as text."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline_lib.report.canvas import tokens_text
from pipeline_lib.report.comparison.data import ComparedRun, Comparison, PairedDifference
from pipeline_lib.report.data import Model, Row
from pipeline_lib.report.summary import MISSING, BudgetTable, budget_table, hundredths, percent_change, signed, tokens_cell


@dataclass(frozen=True, slots=True)
class DifferenceTable:
    """One benchmark: a row per run, of (text, small text below it, whether the interval leaves out zero)."""

    benchmark: str
    columns: tuple[str, ...]
    rows: tuple[tuple[ComparedRun, int, tuple[tuple[str, str, bool], ...]], ...]


def overview(comparison: Comparison) -> list[tuple[ComparedRun, tuple[str, ...]]]:
    """By run: reward, L_T, steps, status, alarms; on the first benchmark at the largest budget: tokens, their change, accuracy."""
    benchmark = comparison.benchmarks[0] if comparison.benchmarks else ""
    lines = []
    for run in comparison.runs:
        reward = run.config.get("reward", {})
        before, after = (_widest(rows, benchmark) for rows in (run.rows_at(0), run.last_rows))
        values: tuple[str, ...] = (
            str(reward.get("name", MISSING)),
            str(reward.get("target_tokens", MISSING)),
            str(max((row["step"] for row in run.curve), default=0)),
            run.status,
            str(len(run.alarms)),
            tokens_cell(after["mean_tokens"]) if after else MISSING,
            percent_change(before["mean_tokens"], after["mean_tokens"]) if before and after else MISSING,
            f"{hundredths(after['mean_at_k'])} %" if after else MISSING,
        )
        lines.append((run, values))
    return lines


def _widest(rows: Sequence[Row], benchmark: str) -> Row | None:
    own = [row for row in rows if row["benchmark"] == benchmark]
    return max(own, key=lambda row: row["budget_tokens"], default=None)


def comparison_budget_tables(comparison: Comparison) -> list[BudgetTable]:
    """Per benchmark: the base, then every evaluated model of every run, as in the report of one run."""
    models = [Model("before", base.look.label, base.look.colour, 0, tuple(base.rows)) for base in comparison.bases]
    models += [
        Model("after", f"{run.name}, step {step}", run.look.colour, step, tuple(run.rows_at(step)))
        for run in comparison.runs
        for step in run.steps
    ]
    return [budget_table(benchmark, models) for benchmark in comparison.benchmarks]


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
