"""A verdict of the gate in words: what decided, where, by which numbers, and what would decide it."""

import math
from collections.abc import Sequence
from typing import Literal

from pipeline_lib.config.retraining import GateConfig
from pipeline_lib.evaluation.paired_comparison import BudgetComparison, Interval

Cause = Literal["shorter", "more_accurate", "worse", "undecided", "no_gain"]


def explain(
    cause: Cause, comparisons: Sequence[BudgetComparison], change: Interval, accuracy: Interval, rules: GateConfig
) -> str:
    """The reason for a decision, in one or two sentences."""
    if cause == "worse":
        return _worse([each for each in comparisons if each.difference.high < 0 and not each.passed], rules)
    if cause == "undecided":
        return _undecided(comparisons, change, accuracy, rules)
    closest = min(comparisons, key=lambda each: each.difference.low)
    safe = (
        f"accuracy is not worse at any budget by more than the margin of {_points(rules.accuracy_margin)} points "
        f"(closest: {_cell(closest)})"
    )
    if cause == "shorter":
        return f"Tokens fall by {_share(change, -1)}, and {safe}."
    if cause == "more_accurate":
        return (
            f"Accuracy rises by {_interval_points(accuracy)} points on the mean over budgets, tokens change by {_share(change)} "
            f"(allowed: up to {100 * rules.token_tolerance:g} %), and {safe}."
        )
    return (
        f"Nothing was gained: tokens change by {_share(change)}, accuracy by {_interval_points(accuracy)} points on the mean over "
        f"budgets; {_missing_gain(change, accuracy, rules)}."
    )


def _worse(failed: Sequence[BudgetComparison], rules: GateConfig) -> str:
    worst = min(failed, key=lambda each: each.difference.high)
    others = f", and at {len(failed) - 1} more" if len(failed) > 1 else ""
    return (
        f"Worse: {_cell(worst)}, where a loss of more than {_points(rules.accuracy_margin)} points has to be ruled out{others}."
    )


def _undecided(comparisons: Sequence[BudgetComparison], change: Interval, accuracy: Interval, rules: GateConfig) -> str:
    few = min(comparisons, key=lambda each: each.num_prompts)
    if few.num_prompts < rules.min_prompts:
        return (
            f"Too few prompts to tell: {few.benchmark} has {few.num_prompts}, and the gate asks for at least {rules.min_prompts} "
            "(retrain.gate.min_prompts)."
        )
    failed = [each for each in comparisons if not each.passed]
    widest = min(failed, key=lambda each: each.difference.low)
    needed = max((_prompts_needed(each, rules.accuracy_margin) for each in failed), key=lambda count: count or math.inf)
    words = f"about {needed} prompts would tell" if needed else "the loss itself is beyond the margin, but could be chance"
    others = f", nor at {len(failed) - 1} more" if len(failed) > 1 else ""
    gain = (
        f"tokens fall by {_share(change, -1)}" if change.high < 0 else f"accuracy rises by {_interval_points(accuracy)} points"
    )
    return (
        f"Too few prompts to tell: {gain}, but {_cell(widest)}: a loss of more than {_points(rules.accuracy_margin)} points "
        f"cannot be ruled out{others}; {words}."
    )


def _prompts_needed(comparison: BudgetComparison, margin: float) -> int | None:
    """How many prompts would pass if the difference stayed what it is: the interval narrows with their square root.

    None: no number that anyone could collect.
    """
    room = comparison.difference.value + margin
    width = comparison.difference.value - comparison.difference.low
    if room <= 1e-6 * width:
        return None
    return math.ceil(comparison.num_prompts * (width / room) ** 2)


def _missing_gain(change: Interval, accuracy: Interval, rules: GateConfig) -> str:
    if accuracy.low > rules.min_accuracy_gain:
        return f"a rise of tokens by more than {100 * rules.token_tolerance:g} % cannot be ruled out"
    if change.value < 0 or accuracy.value > rules.min_accuracy_gain:
        return "neither is sure"
    return "neither is a gain"


def _cell(comparison: BudgetComparison) -> str:
    return (
        f"{comparison.benchmark} within {comparison.budget_tokens} tokens {_points(comparison.champion)} → "
        f"{_points(comparison.challenger)} %, difference {_interval_points(comparison.difference)} points"
    )


def _interval_points(interval: Interval) -> str:
    return f"{_signed(100 * interval.value)} [{_signed(100 * interval.low)}, {_signed(100 * interval.high)}]"


def _share(interval: Interval, sign: int = 1) -> str:
    """A relative change in percent; with sign -1 a fall told as a positive number."""
    ends = sorted((100 * sign * interval.low, 100 * sign * interval.high))
    texts = [f"{end:.1f}" if sign < 0 else _signed(end) for end in (100 * sign * interval.value, *ends)]
    return f"{texts[0]} % [{texts[1]}, {texts[2]}]"


def _points(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _signed(value: float) -> str:
    rounded = round(value, 1)
    return f"{rounded if rounded else 0.0:+.1f}" if rounded else "0.0"
