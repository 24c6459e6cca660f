"""Paired differences between two runs on the prompts that both answered: how hard a prompt is cancels out.

Shape suffixes: P = prompts, B = budgets.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline_lib.evaluation.budget_sweep import resampled_means
from pipeline_lib.report.comparison.data import PairedDifference
from pipeline_lib.report.data import Row, benchmark_names

RESAMPLES = 2000
SEED = 0
FloatArray = npt.NDArray[np.float64]


def paired_differences(
    first: Sequence[Row], other: Sequence[Row], budgets: Mapping[str, Sequence[int]], key: str
) -> list[PairedDifference]:
    """One a benchmark on which both runs answered some of the same prompts: `other` minus `first`, 95 % bootstrap intervals.

    `first` and `other` are responses (benchmark, prompt_id, num_tokens, finish_reason, correct) of one model each; `budgets` are
    the token budgets of each benchmark, rising. Tokens count up to the largest budget.
    """
    found = []
    for benchmark in benchmark_names(first):
        own_budgets = list(budgets.get(benchmark, ()))
        before, after = _by_prompt(first, benchmark), _by_prompt(other, benchmark)
        common = sorted(before.keys() & after.keys())
        if not common or not own_budgets:
            continue
        difference_PC = np.stack([_scores(after[p], own_budgets) - _scores(before[p], own_budgets) for p in common])
        means_RC = resampled_means(difference_PC, RESAMPLES, SEED)
        low, high = np.percentile(means_RC, [2.5, 97.5], axis=0)
        triples = [(float(a), float(b), float(c)) for a, b, c in zip(difference_PC.mean(axis=0), low, high, strict=True)]
        accuracy = dict(zip(own_budgets, triples, strict=False))
        found.append(PairedDifference(key, benchmark, len(common), accuracy, triples[-1]))
    return found


def _by_prompt(samples: Sequence[Row], benchmark: str) -> dict[str, list[Row]]:
    grouped: dict[str, list[Any]] = {}
    for sample in samples:
        if sample["benchmark"] == benchmark:
            grouped.setdefault(sample["prompt_id"], []).append(sample)
    return grouped


def _scores(samples: Sequence[Row], budgets: Sequence[int]) -> FloatArray:
    """Mean@k of one prompt at each budget, then its mean tokens (B + 1)."""
    right = np.array([sample["correct"] and sample["finish_reason"] == "stop" for sample in samples])
    lengths = np.array([sample["num_tokens"] for sample in samples])
    accuracies = [float((right & (lengths <= budget)).mean()) for budget in budgets]
    return np.array([*accuracies, float(np.minimum(lengths, budgets[-1]).mean())])
