"""Which rows belong to which model, and the numbers of the report, against values worked out by hand."""

from typing import Any

import pytest

from pipeline_lib.report.data import (
    AFTER_COLOUR,
    BEFORE_COLOUR,
    CONTROL_COLOURS,
    ReportData,
    RunFacts,
    RunSeries,
    compared_models,
    series_colour,
)
from pipeline_lib.report.summary import budget_tables, duration_text, headlines, step_time

MAIN = RunSeries("demo-1", "truncation", "main")
CONTROL = RunSeries("demo-control-2", "vanilla", "control")


def point(run_id: str, step: int, budget: int, accuracy: float, mean_tokens: float, **changes: Any) -> dict[str, Any]:
    row = {
        "run_id": run_id,
        "model": f"{run_id}@{step}",
        "step": step,
        "benchmark": "tiny-sum",
        "budget_tokens": budget,
        "mean_at_k": accuracy,
        "pass_at_k": accuracy + 0.1,
        "ci_low": accuracy - 0.05,
        "ci_high": accuracy + 0.05,
        "mean_tokens": mean_tokens,
        "mean_tokens_correct": mean_tokens + 4,
        "mean_tokens_incorrect": None,
        "truncated_fraction": 0.02,
    }
    return row | changes


SWEEP = [
    point("demo-control-2", 40, 48, 0.20, 75.0),
    point("demo-control-2", 40, 192, 0.75, 78.0),
    point("demo-1", 0, 48, 0.25, 40.0),
    point("demo-1", 0, 192, 0.70, 80.0),
    point("demo-1", 20, 192, 0.10, 50.0),
    point("demo-1", 40, 48, 0.50, 30.0),
    point("demo-1", 40, 192, 0.725, 36.0),
]


def report(target_tokens: int | None = 48, series: tuple[RunSeries, ...] = (CONTROL, MAIN)) -> ReportData:
    run = RunFacts("demo-1", "demo", "builtin:tiny", "finished", target_tokens=target_tokens)
    return ReportData(run, series, budget_results=SWEEP)


def test_models_are_the_base_then_the_last_step_of_each_run() -> None:
    models = compared_models((CONTROL, MAIN), SWEEP)
    assert [(model.role, model.step, len(model.rows)) for model in models] == [
        ("before", 0, 2),
        ("after", 40, 2),
        ("control", 40, 2),
    ]
    assert [model.colour for model in models] == [BEFORE_COLOUR, AFTER_COLOUR, CONTROL_COLOURS[0]]
    assert compared_models((MAIN,), []) == []
    second = RunSeries("demo-control-3", "laser", "control")
    assert series_colour((MAIN, CONTROL, second), second) == CONTROL_COLOURS[1]


def test_headlines_compare_length_and_accuracy_with_the_control() -> None:
    length, full, at_target = headlines(report(), "tiny-sum")
    assert (length.before, length.after, length.change) == ("80.0", "36.0", "−55.0 %")
    assert length.controls == ("control (vanilla): 78.0 (−2.5 %)",)
    assert (full.title, full.before, full.after, full.change) == (
        "Accuracy at 192 tokens, the largest budget",
        "70.0 %",
        "72.5 %",
        "+2.5 points",
    )
    assert full.controls == ("control (vanilla): 75.0 % (+5.0 points)",)
    assert at_target.title == "Accuracy at 48 tokens, the target length"
    assert at_target.change == "+25.0 points"


@pytest.mark.parametrize(
    ("target", "last_title"),
    [
        (None, "Accuracy at 192 tokens, the largest budget"),
        (180, "Accuracy at 192 tokens, the largest budget"),
        (60, "Accuracy at 48 tokens, nearest the target of 60"),
    ],
)
def test_the_budget_nearest_the_target_is_shown_when_it_is_another(target: int | None, last_title: str) -> None:
    assert headlines(report(target), "tiny-sum")[-1].title == last_title


def test_a_loss_is_called_a_loss() -> None:
    lost = [
        row | {"mean_at_k": 0.314, "mean_tokens": 90.0} if row["step"] == 40 and row["run_id"] == "demo-1" else row
        for row in SWEEP
    ]
    worse = ReportData(report().run, (CONTROL, MAIN), budget_results=lost)
    assert [(item.change, item.verdict) for item in headlines(worse, "tiny-sum")] == [
        ("+12.5 %", "worse"),
        ("−38.6 points", "worse"),
        ("+6.4 points", "better"),
    ]
    assert [item.verdict for item in headlines(report(), "tiny-sum")] == ["better", "better", "better"]
    same = [row | {"mean_at_k": 0.7002} if row["step"] == 40 and row["budget_tokens"] == 192 else row for row in SWEEP]
    unchanged = headlines(ReportData(report().run, (MAIN,), budget_results=same), "tiny-sum")[1]
    assert (unchanged.change, unchanged.verdict) == ("0.0 points", "unchanged"), "what rounds to nothing is none"


def test_tokens_and_money_for_each_right_answer() -> None:
    costs = {0: (114.3, 0.25), 40: (49.66, None)}
    priced = [
        row | {"tokens_per_correct": costs[row["step"]][0], "cost_per_1000_correct": costs[row["step"]][1], "currency": "EUR"}
        for row in SWEEP
        if row["run_id"] == "demo-1" and row["step"] in costs
    ]
    last = headlines(ReportData(report().run, (MAIN,), budget_results=priced), "tiny-sum")[-1]
    assert (last.title, last.before, last.after) == ("Tokens per right answer, within 192 tokens", "114.3", "49.7")
    assert (last.change, last.verdict, last.note) == ("−56.6 %", "better", "1,000 right answers: 0.25 → – EUR")
    (table,) = budget_tables(ReportData(report().run, (MAIN,), budget_results=priced))
    assert [row.cells[-2][0] for row in table.rows] == ["114.3", "49.7", "−56.6 %"]
    never = [row | {"tokens_per_correct": None} if row["step"] else row for row in priced]
    last = headlines(ReportData(report().run, (MAIN,), budget_results=never), "tiny-sum")[-1]
    assert (last.after, last.verdict) == ("–", "worse"), "a model that is never right has lost"


def test_without_both_models_there_is_no_headline() -> None:
    assert headlines(report(series=(CONTROL,)), "tiny-sum") == []
    assert headlines(report(), "no-such-benchmark") == []


def test_the_table_has_every_model_and_the_change() -> None:
    (table,) = budget_tables(report())
    assert table.columns == ("48", "192", "Pass@k", "all", "right", "wrong", "per right", "cut")
    cells = {row.label: [text for text, _ in row.cells] for row in table.rows}
    assert cells == {
        "before RL": ["25.0", "70.0", "80.0", "80.0", "84.0", "–", "–", "2.0"],
        "after RL (truncation)": ["50.0", "72.5", "82.5", "36.0", "40.0", "–", "–", "2.0"],
        "control (vanilla)": ["20.0", "75.0", "85.0", "78.0", "82.0", "–", "–", "2.0"],
        "change, before → after": ["+25.0", "+2.5", "+2.5", "−55.0 %", "−52.4 %", "–", "–", "0.0"],
    }
    assert table.rows[0].cells[0] == ("25.0", "20.0–30.0")


def test_step_time_is_split_into_its_parts() -> None:
    rows = [
        {
            "generation_seconds": 2.0,
            "update_seconds": 1.0,
            "sync_seconds": 0.5,
            "other_seconds": 0.5,
            "tokens_per_second": 100.0,
        },
        {
            "generation_seconds": 1.0,
            "update_seconds": 2.0,
            "sync_seconds": 0.5,
            "other_seconds": 0.5,
            "tokens_per_second": 300.0,
        },
    ]
    time = step_time(RunSeries("demo-1", "truncation", "main", rows))
    assert time is not None
    assert (time.num_steps, time.seconds, time.tokens_per_second) == (2, 4.0, 200.0)
    assert time.shares == (("generation", 0.375), ("update", 0.375), ("weight sync", 0.125), ("other", 0.125))
    assert step_time(MAIN) is None


@pytest.mark.parametrize(("seconds", "text"), [(None, "–"), (8.42, "8.4 s"), (185.0, "3 min 05 s"), (7620.0, "2 h 07 min")])
def test_durations_are_readable(seconds: float | None, text: str) -> None:
    assert duration_text(seconds) == text
