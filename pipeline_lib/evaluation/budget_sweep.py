"""One generation at the largest budget, scored at every smaller one: Mean@k, Pass@k, lengths and cap hits (paper's metrics).

A rollout counts at budget B when it is correct, ended by itself and took at most B tokens: what a run cut off at B would show.
Shape suffixes: P = prompts, K = samples a prompt, B = budgets, R = bootstrap resamples of the prompts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline_lib.records import BudgetPoint, Rollout

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

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
    """Score the samples of one model on one benchmark at each budget, one BudgetPoint a budget, in the given order.

    k is the number of samples a prompt. The interval is a 95 % percentile bootstrap over prompts of Mean@k with `resamples`
    resamples; all budgets share the resampled prompts. Mean lengths count a rollout as min(L, B) tokens; "correct" means
    correct at that budget. Raises ValueError when there are no rollouts or prompts have different numbers of samples.
    """
    if not budgets_tokens or min(budgets_tokens) < 1:
        raise ValueError(f"budgets_tokens = {list(budgets_tokens)} must be one or more positive numbers")
    groups = list(group_samples(rollouts, benchmark).values())
    lengths_PK = np.array([[sample.num_tokens for sample in group] for group in groups], dtype=np.int64)
    stopped_PK = np.array([[sample.finish_reason == "stop" for sample in group] for group in groups], dtype=np.bool_)
    correct_PK = np.array([[sample.correct for sample in group] for group in groups], dtype=np.bool_)
    finished_by_budget = [stopped_PK & (lengths_PK <= budget) for budget in budgets_tokens]
    scores_PB = np.stack([(correct_PK & finished_PK).mean(axis=1) for finished_PK in finished_by_budget], axis=1)
    intervals = bootstrap_intervals(scores_PB, resamples, seed)
    points = []
    for budget, finished_PK, (ci_low, ci_high) in zip(budgets_tokens, finished_by_budget, intervals, strict=True):
        scored = _score_one_budget(np.minimum(lengths_PK, budget), correct_PK & finished_PK)
        points.append(
            BudgetPoint(
                run_id=run_id,
                model=model,
                step=step,
                benchmark=benchmark,
                budget_tokens=int(budget),
                ci_low=float(ci_low),
                ci_high=float(ci_high),
                truncated_fraction=float(1.0 - finished_PK.mean()),
                **scored,
            )
        )
    return points


def _score_one_budget(used_PK: IntArray, counts_PK: BoolArray) -> dict[str, Any]:
    """The columns of a BudgetPoint that need only the tokens used and what counts as correct at that budget."""
    num_prompts, num_samples = counts_PK.shape
    return {
        "num_prompts": num_prompts,
        "num_samples": num_samples,
        "mean_at_k": float(counts_PK.mean()),
        "pass_at_k": float(np.mean([pass_at_k(num_samples, int(right), num_samples) for right in counts_PK.sum(axis=1)])),
        "mean_tokens": float(used_PK.mean()),
        "mean_tokens_correct": _mean_or_none(used_PK[counts_PK]),
        "mean_tokens_incorrect": _mean_or_none(used_PK[~counts_PK]),
    }


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
