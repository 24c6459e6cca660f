"""Two models on the same prompts: each prompt's difference, after minus before, so that how hard a prompt is cancels out.

Intervals are percentiles of a bootstrap over the prompts. Shape suffixes: P = prompts, B = budgets, R = resamples of the prompts,
C = columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline_lib.evaluation.budget_sweep import cut_at_budget, resampled_means
from pipeline_lib.rewards.base import FloatArray, Outcomes

Tails = tuple[float, float]  # percentiles
TAILS_95: Tails = (2.5, 97.5)


class Interval(NamedTuple):
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


class PromptScores(NamedTuple):
    """What one model scored on each prompt: Mean@k within each budget, rising, and mean tokens up to the largest."""

    accuracies_PB: FloatArray
    tokens_P: FloatArray

    @classmethod
    def of(cls, outcomes: Outcomes, budgets_tokens: Sequence[int]) -> "PromptScores":
        """From samples, as many of each prompt."""
        cuts = [cut_at_budget(outcomes, budget) for budget in sorted(budgets_tokens)]
        accuracies_PB = np.concatenate([cut.pass_rate_P1 for cut in cuts], axis=1)
        return cls(accuracies_PB, cuts[-1].lengths_PN.mean(axis=1))


class PairedComparison:
    """Both models on one benchmark, prompt by prompt, and the means of the resampled prompts.

    `token_change` is the difference of mean tokens as a share of those before; `accuracy` is the mean difference over the budgets.
    """

    def __init__(self, before: PromptScores, after: PromptScores, resamples: int, seed: int | Sequence[int]) -> None:
        differences_PB = after.accuracies_PB - before.accuracies_PB
        token_differences_P = after.tokens_P - before.tokens_P
        self.num_prompts = len(token_differences_P)
        self.before_B, self.after_B = before.accuracies_PB.mean(axis=0), after.accuracies_PB.mean(axis=0)
        self.difference_B = differences_PB.mean(axis=0)
        self.accuracy = float(self.difference_B.mean())
        self.token_difference = float(token_differences_P.mean())
        self.token_change = self.token_difference / float(before.tokens_P.mean())
        columns_PC = np.concatenate([differences_PB, token_differences_P[:, None], before.tokens_P[:, None]], axis=1)
        means_RC = resampled_means(columns_PC, resamples, seed)
        self.differences_RB = means_RC[:, :-2]
        self.accuracies_R = self.differences_RB.mean(axis=1)
        self.token_differences_R = means_RC[:, -2]
        self.token_changes_R = means_RC[:, -2] / means_RC[:, -1]

    def accuracy_intervals(self, tails: Tails) -> list[Interval]:
        """The difference of Mean@k, one per budget."""
        low_B, high_B = np.percentile(self.differences_RB, tails, axis=0)
        return [Interval(*map(float, ends)) for ends in zip(self.difference_B, low_B, high_B, strict=True)]

    def token_interval(self, tails: Tails) -> Interval:
        return interval_of_mean([self.token_difference], [self.token_differences_R], tails)


def interval_of_mean(values: Sequence[float], resampled: Sequence[FloatArray], tails: Tails) -> Interval:
    """Of the mean over benchmarks, each resampled on its own."""
    low, high = np.percentile(np.mean(resampled, axis=0), tails)
    return Interval(float(np.mean(values)), float(low), float(high))
