"""Paired differences between two runs on the prompts that both answered."""

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline_lib.evaluation.paired_comparison import TAILS_95, PairedComparison, PromptScores
from pipeline_lib.report.comparison.data import PairedDifference
from pipeline_lib.report.data import Row, benchmark_names
from pipeline_lib.rewards.base import Outcomes

RESAMPLES = 2000
SEED = 0


def paired_differences(
    first: Sequence[Row], other: Sequence[Row], budgets: Mapping[str, Sequence[int]], key: str
) -> list[PairedDifference]:
    """One per benchmark on which both runs answered some of the same prompts: `other` minus `first`, 95 % bootstrap intervals.

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
        ours, theirs = (_scores([side[prompt] for prompt in common], own_budgets) for side in (before, after))
        paired = PairedComparison(ours, theirs, RESAMPLES, SEED)
        accuracy = dict(zip(own_budgets, paired.accuracy_intervals(TAILS_95), strict=True))
        found.append(PairedDifference(key, benchmark, len(common), accuracy, paired.token_interval(TAILS_95)))
    return found


def _by_prompt(samples: Sequence[Row], benchmark: str) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for sample in samples:
        if sample["benchmark"] == benchmark:
            grouped.setdefault(sample["prompt_id"], []).append(sample)
    return grouped


def _scores(groups: Sequence[Sequence[Row]], budgets: Sequence[int]) -> PromptScores:
    """Prompt by prompt: where files are damaged, some have fewer samples than others."""
    scores = [PromptScores.of(_outcomes(group), budgets) for group in groups]
    return PromptScores(*(np.concatenate(parts) for parts in zip(*scores, strict=True)))


def _outcomes(samples: Sequence[Row]) -> Outcomes:
    finished = [sample["finish_reason"] == "stop" for sample in samples]
    return Outcomes.of([[sample["num_tokens"] for sample in samples]], [[sample["correct"] for sample in samples]], [finished])
