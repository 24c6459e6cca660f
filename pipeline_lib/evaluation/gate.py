"""The gate: does a challenger replace the champion? A paired bootstrap over the held-out prompts (docs/gate.md).

Both models answered the same prompts. What is compared is each prompt's difference, challenger minus champion, so that how
hard a prompt is cancels out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline_lib.config.retraining import GateConfig
from pipeline_lib.evaluation.budget_sweep import group_samples, sample_outcomes
from pipeline_lib.evaluation.gate_words import Cause, explain
from pipeline_lib.evaluation.paired_comparison import (
    BudgetComparison,
    Interval,
    PairedComparison,
    PromptScores,
    Tails,
    interval_of_mean,
)
from pipeline_lib.records import Rollout

ROUNDING = 1e-12  # a difference of exactly the margin passes, however its mean was rounded


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
    by_benchmark = {
        name: _pair(name, champion[name], challenger[name], budgets, rules.resamples, [seed, place])
        for place, name in enumerate(sorted(champion))
    }
    tails = (50 * (1 - rules.confidence), 50 * (1 + rules.confidence))
    comparisons = tuple(
        comparison
        for name in champion
        for comparison in _comparisons(name, by_benchmark[name], budgets, tails, rules.accuracy_margin)
    )
    paired = list(by_benchmark.values())
    tokens = interval_of_mean([each.token_difference for each in paired], [each.token_differences_R for each in paired], tails)
    change = interval_of_mean([each.token_change for each in paired], [each.token_changes_R for each in paired], tails)
    accuracy = interval_of_mean([each.accuracy for each in paired], [each.accuracies_R for each in paired], tails)
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


def _pair(
    benchmark: str,
    champion: Sequence[Rollout],
    challenger: Sequence[Rollout],
    budgets: Sequence[int],
    resamples: int,
    seed: Sequence[int],
) -> PairedComparison:
    before, after = group_samples(champion, benchmark), group_samples(challenger, benchmark)
    if before.keys() != after.keys():
        raise ValueError(
            f"benchmark {benchmark!r}: champion and challenger answered different prompts ({len(before.keys() - after.keys())} "
            f"only the champion, {len(after.keys() - before.keys())} only the challenger): evaluate both anew"
        )
    prompts = sorted(before)  # whatever order they come in, the resamples are the same
    ours, theirs = (PromptScores.of(sample_outcomes([side[prompt] for prompt in prompts]), budgets) for side in (before, after))
    return PairedComparison(ours, theirs, resamples, seed)


def _comparisons(
    benchmark: str, paired: PairedComparison, budgets: Sequence[int], tails: Tails, margin: float
) -> list[BudgetComparison]:
    return [
        BudgetComparison(
            benchmark=benchmark,
            budget_tokens=budget,
            champion=float(champion),
            challenger=float(challenger),
            difference=difference,
            passed=difference.low >= -margin - ROUNDING,
            num_prompts=paired.num_prompts,
        )
        for budget, champion, challenger, difference in zip(
            budgets, paired.before_B, paired.after_B, paired.accuracy_intervals(tails), strict=True
        )
    ]
