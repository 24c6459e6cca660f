"""The gate: does a challenger replace the champion? A paired bootstrap over the held-out prompts (docs/gate.md).

Both models answered the same prompts. What is compared is each prompt's difference, challenger minus champion, so that how
hard a prompt is cancels out. Shape suffixes: P = prompts, K = samples a prompt, B = budgets, R = resamples of the prompts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline_lib.config.retraining import GateConfig
from pipeline_lib.evaluation.budget_sweep import FloatArray, group_samples, resampled_means
from pipeline_lib.evaluation.gate_words import explain
from pipeline_lib.records import Rollout

ROUNDING = 1e-12  # a difference of exactly the margin passes, however its mean was rounded

Cause = Literal["shorter", "more_accurate", "worse", "undecided", "no_gain"]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the two-sided percentile interval around it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class BudgetComparison:
    """Mean@k of both models on one benchmark within one budget. `passed`: a loss beyond the margin is ruled out."""

    benchmark: str
    budget_tokens: int
    champion: float
    challenger: float
    difference: Interval
    passed: bool
    num_prompts: int


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What the gate found. Every benchmark counts the same in the three means over them.

    `tokens` is the difference of mean tokens, `token_change` the same as a share of the champion's, `accuracy` the difference
    of Mean@k over all budgets and benchmarks.
    """

    cause: Cause
    reason: str
    comparisons: tuple[BudgetComparison, ...]
    tokens: Interval
    token_change: Interval
    accuracy: Interval
    num_prompts: int

    @property
    def promoted(self) -> bool:
        """Whether the challenger becomes the champion."""
        return self.cause in ("shorter", "more_accurate")


def judge_challenger(
    champion: Mapping[str, Sequence[Rollout]],
    challenger: Mapping[str, Sequence[Rollout]],
    budgets_tokens: Sequence[int],
    rules: GateConfig,
    seed: int,
) -> GateVerdict:
    """Judge a challenger by the evaluation rollouts of both models, by benchmark.

    Promoted when at every budget of every benchmark the interval of the accuracy difference lies above -accuracy_margin, and
    either the interval of the token change lies below 0, or that of the mean accuracy difference above min_accuracy_gain with
    a token change whose interval lies within token_tolerance. Tokens are counted up to the largest budget. Raises ValueError
    when the two were not judged on the same prompts.
    """
    if not champion or champion.keys() != challenger.keys():
        raise ValueError(
            f"champion and challenger were judged on different benchmarks: {sorted(champion)}, {sorted(challenger)}"
        )
    budgets = sorted(budgets_tokens)
    samples = {
        name: _Paired(name, champion[name], challenger[name], budgets, rules.resamples, [seed, place])
        for place, name in enumerate(sorted(champion))
    }
    tails = (50 * (1 - rules.confidence), 50 * (1 + rules.confidence))
    comparisons = tuple(
        comparison for name in champion for comparison in samples[name].comparisons(tails, rules.accuracy_margin)
    )
    paired = list(samples.values())
    tokens = _interval([each.token_difference for each in paired], [each.token_differences_R for each in paired], tails)
    change = _interval([each.token_change for each in paired], [each.token_changes_R for each in paired], tails)
    accuracy = _interval([each.accuracy for each in paired], [each.accuracies_R for each in paired], tails)
    cause = _cause(comparisons, change, accuracy, rules)
    reason = explain(cause, comparisons, change, accuracy, rules)
    num_prompts = sum(each.num_prompts for each in paired)
    return GateVerdict(cause, reason, comparisons, tokens, change, accuracy, num_prompts)


def _cause(comparisons: Sequence[BudgetComparison], change: Interval, accuracy: Interval, rules: GateConfig) -> Cause:
    if any(each.num_prompts < rules.min_prompts for each in comparisons):
        return "undecided"
    if any(each.difference.high < 0 and not each.passed for each in comparisons):
        return "worse"
    shorter = change.high < 0
    more_accurate = accuracy.low > rules.min_accuracy_gain and change.high <= rules.token_tolerance
    if not (shorter or more_accurate):
        return "no_gain"
    if not all(each.passed for each in comparisons):
        return "undecided"
    return "shorter" if shorter else "more_accurate"


class _Paired:
    """One benchmark: both models prompt by prompt, and the means of the resampled prompts."""

    def __init__(
        self,
        benchmark: str,
        champion: Sequence[Rollout],
        challenger: Sequence[Rollout],
        budgets: Sequence[int],
        resamples: int,
        seed: Sequence[int],
    ) -> None:
        self.benchmark, self.budgets = benchmark, list(budgets)
        before, after = group_samples(champion, benchmark), group_samples(challenger, benchmark)
        if before.keys() != after.keys():
            raise ValueError(
                f"benchmark {benchmark!r}: champion and challenger answered different prompts ({len(before.keys() - after.keys())} "
                f"only the champion, {len(after.keys() - before.keys())} only the challenger): evaluate both anew"
            )
        prompts = sorted(before)  # whatever order they come in, the resamples are the same
        self.num_prompts = len(prompts)
        champion_PB, champion_tokens_P = _by_prompt([before[prompt] for prompt in prompts], budgets)
        challenger_PB, challenger_tokens_P = _by_prompt([after[prompt] for prompt in prompts], budgets)
        self.champion_B, self.challenger_B = champion_PB.mean(axis=0), challenger_PB.mean(axis=0)
        self.difference_B = (challenger_PB - champion_PB).mean(axis=0)
        self.accuracy = float(self.difference_B.mean())
        self.token_difference = float((challenger_tokens_P - champion_tokens_P).mean())
        self.token_change = self.token_difference / float(champion_tokens_P.mean())
        columns = [challenger_PB - champion_PB, (challenger_tokens_P - champion_tokens_P)[:, None], champion_tokens_P[:, None]]
        means_RC = resampled_means(np.concatenate(columns, axis=1), resamples, seed)
        self.differences_RB = means_RC[:, : len(self.budgets)]
        self.accuracies_R = self.differences_RB.mean(axis=1)
        self.token_differences_R = means_RC[:, -2]
        self.token_changes_R = means_RC[:, -2] / means_RC[:, -1]

    def comparisons(self, tails: tuple[float, float], margin: float) -> list[BudgetComparison]:
        """One a budget."""
        low_B, high_B = np.percentile(self.differences_RB, tails, axis=0)
        return [
            BudgetComparison(
                benchmark=self.benchmark,
                budget_tokens=budget,
                champion=float(self.champion_B[place]),
                challenger=float(self.challenger_B[place]),
                difference=Interval(float(self.difference_B[place]), float(low_B[place]), float(high_B[place])),
                passed=bool(low_B[place] >= -margin - ROUNDING),
                num_prompts=self.num_prompts,
            )
            for place, budget in enumerate(self.budgets)
        ]


def _by_prompt(groups: Sequence[Sequence[Rollout]], budgets: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """Mean@k at each budget (P, B), and mean tokens up to the largest budget (P,)."""
    lengths_PK = np.array([[sample.num_tokens for sample in group] for group in groups], dtype=np.int64)
    right_PK = np.array([[sample.correct and sample.finish_reason == "stop" for sample in group] for group in groups])
    scores_PB = np.stack([(right_PK & (lengths_PK <= budget)).mean(axis=1) for budget in budgets], axis=1)
    return scores_PB, np.minimum(lengths_PK, budgets[-1]).mean(axis=1)


def _interval(values: Sequence[float], resampled: Sequence[FloatArray], tails: tuple[float, float]) -> Interval:
    """Of the mean over benchmarks, each resampled on its own."""
    low, high = np.percentile(np.mean(resampled, axis=0), tails)
    return Interval(float(np.mean(values)), float(low), float(high))
