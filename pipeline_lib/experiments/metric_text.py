"""Metrics of child runs in words and in the units that a page shows: accuracy in percent, lengths in tokens, entropy in nats."""

import re
from dataclasses import dataclass

from pipeline_lib.report.summary import MINUS, MISSING

_BUDGET = re.compile(r"(?P<what>accuracy|pass)@(?P<budget>\d+)")
_PREFIX = re.compile(r"(?:(?P<benchmark>[A-Za-z0-9_-]+)\.)??(?P<base>base\.)?(?P<metric>(?:accuracy|pass)@\d+|tokens(?:_\w+)?)")
_ENDS = {"first": "at the start", "last": "at the end", "min": "lowest", "max": "highest"}
_QUARTERS = {"trough": "lowest quarter", "end": "last quarter"}
_SHARE, _POINTS, _TOKENS, _NATS = ("%", 100.0, 1), ("points", 100.0, 1), ("tokens", 1.0, 1), ("nats", 1.0, 4)
_FACTOR, _STEPS, _COUNT, _PLAIN = ("×", 1.0, 2), ("steps", 1.0, 0), ("a run", 1.0, 1), ("", 1.0, 3)

# Curves of training, by window of steps: the column of training_steps, words, unit. Then what is a single number.
CURVES = {
    "length": ("mean_tokens", "length of the rollouts", _TOKENS),
    "length_correct": ("mean_tokens_correct", "length of right rollouts", _TOKENS),
    "length_incorrect": ("mean_tokens_incorrect", "length of wrong rollouts", _TOKENS),
    "entropy": ("entropy", "entropy", _NATS),
    "train_accuracy": ("accuracy", "accuracy of the rollouts", _SHARE),
    "reward": ("reward_mean", "reward", _PLAIN),
    "positive": ("positive_fraction", "rollouts with a positive reward", _SHARE),
    "zero_variance": ("zero_variance_fraction", "groups without a signal", _SHARE),
    "cut": ("truncated_fraction", "rollouts cut at L_R", _SHARE),
    "kl": ("kl", "KL to the base", _NATS),
    "target": ("target_tokens", "L_T in force", _TOKENS),
    "grad_norm": ("grad_norm", "gradient norm", _PLAIN),
}
# Of the validation prompts, step by step without a window (`held_out_metrics`).
HELD_OUT = ("validation_full_accuracy", "held-out accuracy", _SHARE)
_SINGLE = {
    "tokens": ("mean length", _TOKENS),
    "tokens_correct": ("mean length of right answers", _TOKENS),
    "tokens_incorrect": ("mean length of wrong answers", _TOKENS),
    "half_length_step": ("steps until the length is halfway down", _STEPS),
    "half_length_updates": ("optimiser steps until the length is halfway down", _STEPS),
    "length.rebound": ("length after its lowest, highest / lowest", _FACTOR),
    "entropy.growth": ("entropy, highest / start", _FACTOR),
    "steps": ("training steps", _STEPS),
    "dip": ("dip of held-out accuracy below the base", _POINTS),
    "recovery": ("held-out accuracy regained after the dip", _POINTS),
    "adaptation.steps": ("length adaptation", _STEPS),
    "refinement.accuracy_gain": ("accuracy gained in refinement", _POINTS),
    "refinement.entropy_change": ("entropy gained in refinement", _NATS),
    "refinement.length_change": ("length gained in refinement", _TOKENS),
}


@dataclass(frozen=True, slots=True)
class MetricText:
    """How a metric is called and shown; `unit` is empty for a plain number."""

    words: str
    unit: str
    scale: float
    decimals: int

    @property
    def difference_unit(self) -> str:
        """The unit of a difference of two values: percentages differ by points."""
        return "points" if self.unit == "%" else self.unit

    def number(self, value: float | None, signed: bool = False) -> str:
        """A value in the metric's unit, without naming it."""
        if value is None:
            return MISSING
        text = f"{abs(value) * self.scale:,.{self.decimals}f}"
        is_zero = not text.strip("0.,")
        sign = "" if is_zero else MINUS if value < 0 else "+" if signed else ""
        return sign + text


def describe_metric(name: str) -> MetricText | None:
    """Words and unit of a metric; None for a name that is not one of a child run's (docs/experiments.md)."""
    if name in _SINGLE:
        words, unit = _SINGLE[name]
        return MetricText(words, *unit)
    curve, _, end = name.partition(".")
    if curve in (*CURVES, "held_out") and end in (_ENDS | _QUARTERS):
        _, words, unit = CURVES.get(curve, HELD_OUT)
        return MetricText(f"{words}, {(_ENDS | _QUARTERS)[end]}", *unit)
    if curve == "alarm":
        return MetricText(f"alarms: {end.replace('_', ' ')}", *_COUNT)
    if curve == "style":
        return MetricText(f"rollouts in style {end}, at the end", *_SHARE)
    if curve == "line":
        style, _, end = end.partition(".")
        return MetricText(f"right {style} lines, {_ENDS[end]}", *_SHARE) if end in ("first", "last") else None
    return _of_benchmark(name)


def _of_benchmark(name: str) -> MetricText | None:
    match = _PREFIX.fullmatch(name)
    if match is None:
        return None
    if budget := _BUDGET.fullmatch(match["metric"]):
        what = "accuracy" if budget["what"] == "accuracy" else "Pass@k"
        words, unit = f"{what} within {budget['budget']} tokens", _SHARE
    elif match["metric"] in _SINGLE:
        words, unit = _SINGLE[match["metric"]]
    else:
        return None
    words = f"{match['benchmark']}: {words}" if match["benchmark"] else words
    return MetricText(f"{words}, before RL" if match["base"] else words, *unit)
