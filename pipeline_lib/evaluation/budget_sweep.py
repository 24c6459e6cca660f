"""One generation at the largest budget, scored at every smaller one: Mean@k, Pass@k, lengths and cap hits (paper's metrics).

A rollout counts at budget B when it is correct, ended by itself and took at most B tokens: what a run cut off at B would show.
Shape suffixes: P = prompts, K = samples per prompt, B = budgets, R = bootstrap resamples of the prompts.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline_lib.records import BudgetPoint, Rollout
from pipeline_lib.rewards.base import FloatArray, IntArray, Outcomes

# Resampled prompt indices held in memory at once.
BOOTSTRAP_CHUNK_SIZE = 2_000_000


def score_budgets(
    rollouts: Sequence[Rollout],
    budgets_tokens: Sequence[int],
    resamples: int,
    seed: int,
    *,
    run_id: str,
    model: str,
    step: int,
    benchmark: str,
) -> list[BudgetPoint]:
    """Score the samples of one model on one benchmark at each budget, one BudgetPoint per budget, in the given order.

    k is the number of samples per prompt. The interval is a 95 % percentile bootstrap over prompts of Mean@k with `resamples`
    resamples; all budgets share the resampled prompts. Mean lengths count a rollout as min(L, B) tokens; "correct" means
    correct at that budget. Raises ValueError when there are no rollouts or prompts have different numbers of samples.
    """
    if not budgets_tokens or min(budgets_tokens) < 1:
        raise ValueError(f"budgets_tokens = {list(budgets_tokens)} must be one or more positive numbers")
    outcomes = sample_outcomes(list(group_samples(rollouts, benchmark).values()))
    cuts = [cut_at_budget(outcomes, budget) for budget in budgets_tokens]
    answered = [each.num_tokens for each in rollouts if each.answer is not None and each.finish_reason == "stop"]
    intervals = bootstrap_intervals(np.concatenate([each.pass_rate_P1 for each in cuts], axis=1), resamples, seed)
    points = []
    for budget, cut, (ci_low, ci_high) in zip(budgets_tokens, cuts, intervals, strict=True):
        points.append(
            BudgetPoint(
                run_id=run_id,
                model=model,
                step=step,
                benchmark=benchmark,
                budget_tokens=int(budget),
                ci_low=float(ci_low),
                ci_high=float(ci_high),
                truncated_fraction=float(1.0 - cut.finished_PN.mean()),
                answered_fraction=sum(length <= budget for length in answered) / len(rollouts),
                **_score_one_budget(cut),
            )
        )
    return points


def _score_one_budget(cut: Outcomes) -> dict[str, Any]:
    """The columns of a BudgetPoint that need only what the samples show when they are cut at the budget."""
    num_prompts, num_samples = cut.correct_PN.shape
    return {
        "num_prompts": num_prompts,
        "num_samples": num_samples,
        "mean_at_k": float(cut.correct_PN.mean()),
        "pass_at_k": float(np.mean([pass_at_k(num_samples, int(right), num_samples) for right in cut.num_correct_P1[:, 0]])),
        "mean_tokens": float(cut.lengths_PN.mean()),
        "mean_tokens_correct": _mean_or_none(cut.lengths_PN[cut.correct_PN]),
        "mean_tokens_incorrect": _mean_or_none(cut.lengths_PN[~cut.correct_PN]),
    }


def sample_outcomes(groups: Sequence[Sequence[Rollout]]) -> Outcomes:
    """The samples of some prompts, as many of each."""
    return Outcomes.of(
        [[sample.num_tokens for sample in group] for group in groups],
        [[sample.correct for sample in group] for group in groups],
        [[sample.finish_reason == "stop" for sample in group] for group in groups],
    )


def cut_at_budget(outcomes: Outcomes, budget_tokens: int) -> Outcomes:
    """What the same samples show within a budget: correct are those that are correct, ended by themselves and fit into it."""
    cut = outcomes.within(budget_tokens)
    return replace(cut, correct_PN=cut.correct_PN & cut.finished_PN)


def group_samples(rollouts: Sequence[Rollout], benchmark: str) -> dict[str, list[Rollout]]:
    """The samples of each prompt. Raises ValueError for none, different numbers of them, or the same sample twice."""
    if not rollouts:
        raise ValueError(f"benchmark {benchmark!r} has no rollouts to score")
    samples_by_prompt: dict[str, list[Rollout]] = {}
    for rollout in rollouts:
        samples_by_prompt.setdefault(rollout.prompt_id, []).append(rollout)
    sample_counts = {prompt_id: len(samples) for prompt_id, samples in samples_by_prompt.items()}
    fewest, most = min(sample_counts, key=sample_counts.__getitem__), max(sample_counts, key=sample_counts.__getitem__)
    if sample_counts[fewest] != sample_counts[most]:
        raise ValueError(
            f"benchmark {benchmark!r}: prompt {fewest!r} has {sample_counts[fewest]} samples but prompt {most!r} has "
            f"{sample_counts[most]}; every prompt needs the same number"
        )
    for prompt_id, samples in samples_by_prompt.items():
        if len({sample.sample_index for sample in samples}) < len(samples):
            raise ValueError(f"benchmark {benchmark!r}: prompt {prompt_id!r} has the same sample_index twice")
    return samples_by_prompt


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """Unbiased chance that at least one of k draws (without replacement) from the samples is correct: 1 - C(n-c, k) / C(n, k).

    A product of ratios, so that large binomials never overflow. Raises ValueError when k exceeds the samples drawn.
    """
    if not 1 <= k <= num_samples:
        raise ValueError(f"k = {k} must be between 1 and the {num_samples} samples drawn")
    if not 0 <= num_correct <= num_samples:
        raise ValueError(f"num_correct = {num_correct} must be between 0 and the {num_samples} samples drawn")
    if num_samples - num_correct < k:
        return 1.0
    denominators = np.arange(num_samples - num_correct + 1, num_samples + 1)
    return float(1.0 - np.prod(1.0 - k / denominators))


def bootstrap_intervals(scores_PB: FloatArray, resamples: int, seed: int) -> FloatArray:
    """95 % percentile intervals of the column means under resampling of the rows (prompts): shape (B, 2), low and high."""
    low_B, high_B = np.percentile(resampled_means(scores_PB, resamples, seed), [2.5, 97.5], axis=0)
    return np.stack([low_B, high_B], axis=1)


def resampled_means(values_PC: FloatArray, resamples: int, seed: int | Sequence[int]) -> FloatArray:
    """Column means of `resamples` draws of the rows (prompts) with replacement, the same rows for all columns: shape (R, C)."""
    num_prompts, num_columns = values_PC.shape
    generator = np.random.default_rng(seed)
    means_RC = np.empty((resamples, num_columns))
    chunk = max(1, BOOTSTRAP_CHUNK_SIZE // num_prompts)
    for start in range(0, resamples, chunk):
        stop = min(start + chunk, resamples)
        rows_RP = generator.integers(num_prompts, size=(stop - start, num_prompts), dtype=np.int32)
        for column in range(num_columns):
            means_RC[start:stop, column] = np.take(values_PC[:, column], rows_RP).mean(axis=1)
    return means_RC


def _mean_or_none(lengths: IntArray) -> float | None:
    return float(lengths.mean()) if lengths.size else None
