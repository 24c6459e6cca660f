"""The budget sweep: a worked example by hand, Pass@k against binomials, the bootstrap against theory, and refusals."""

import math
import time

import numpy as np
import pytest

from pipeline_lib.evaluation.budget_sweep import bootstrap_intervals, pass_at_k, score_budgets
from pipeline_lib.records import FinishReason, Rollout

WHO = {"run_id": "run", "model": "base", "step": 0, "benchmark": "tiny-sum"}


def rollout(prompt_id: str, sample_index: int, num_tokens: int, correct: bool, finish_reason: FinishReason = "stop") -> Rollout:
    return Rollout(
        run_id="run",
        stage="evaluate",
        step=0,
        model="base",
        source="tiny-sum",
        prompt_id=prompt_id,
        sample_index=sample_index,
        num_tokens=num_tokens,
        finish_reason=finish_reason,
        answer="1",
        correct=correct,
        grade_reason="correct" if correct else "wrong",
        text="",
    )


EXAMPLE = [
    rollout("a", 0, 10, True),
    rollout("a", 1, 20, True),
    rollout("b", 0, 15, False),
    rollout("b", 1, 40, False, finish_reason="length"),
]


def test_worked_example():
    at_10, at_20, at_40 = score_budgets(EXAMPLE, [10, 20, 40], 200, 0, **WHO)
    # At 10: only a/0 counts; everything else is cut off at 10 tokens.
    assert (at_10.mean_at_k, at_10.pass_at_k, at_10.truncated_fraction) == (0.25, 0.5, 0.75)
    assert (at_10.mean_tokens, at_10.mean_tokens_correct, at_10.mean_tokens_incorrect) == (10.0, 10.0, 10.0)
    # At 20: both of a count (10 and 20 tokens); b used 15 and 20 (cut).
    assert (at_20.mean_at_k, at_20.pass_at_k, at_20.truncated_fraction) == (0.5, 0.5, 0.25)
    assert (at_20.mean_tokens, at_20.mean_tokens_correct, at_20.mean_tokens_incorrect) == (16.25, 15.0, 17.5)
    # At 40: b/1 hit the generation's own cap, so it stays truncated at its full length.
    assert (at_40.mean_at_k, at_40.truncated_fraction, at_40.mean_tokens_incorrect) == (0.5, 0.25, 27.5)
    assert (at_40.budget_tokens, at_40.num_prompts, at_40.num_samples) == (40, 2, 2)
    assert (at_40.run_id, at_40.model, at_40.step, at_40.benchmark) == ("run", "base", 0, "tiny-sum")
    # Two prompts scoring 1 and 0: the resampled mean is 0 or 1 with chance 1/4 each.
    assert (at_40.ci_low, at_40.ci_high) == (0.0, 1.0)


def test_a_rollout_of_exactly_the_budget_counts():
    assert score_budgets([rollout("a", 0, 30, True)], [29, 30], 10, 0, **WHO)[0].mean_at_k == 0.0
    assert score_budgets([rollout("a", 0, 30, True)], [29, 30], 10, 0, **WHO)[1].mean_at_k == 1.0


def test_a_cut_rollout_never_counts_even_if_marked_correct():
    (point,) = score_budgets([rollout("a", 0, 30, True, finish_reason="length")], [30], 10, 0, **WHO)
    assert (point.mean_at_k, point.pass_at_k, point.truncated_fraction) == (0.0, 0.0, 1.0)


def test_means_over_nothing_are_none():
    (none_right,) = score_budgets([rollout("a", 0, 5, False)], [10], 10, 0, **WHO)
    (all_right,) = score_budgets([rollout("a", 0, 5, True)], [10], 10, 0, **WHO)
    assert (none_right.mean_tokens_correct, none_right.mean_tokens_incorrect) == (None, 5.0)
    assert (all_right.mean_tokens_correct, all_right.mean_tokens_incorrect) == (5.0, None)


def test_unequal_samples_are_refused():
    with pytest.raises(ValueError, match="prompt 'b' has 1 samples but prompt 'a' has 2"):
        score_budgets(EXAMPLE[:3], [10], 10, 0, **WHO)


def test_a_sample_twice_is_refused():
    with pytest.raises(ValueError, match="prompt 'a' has the same sample_index twice"):
        score_budgets([rollout("a", 0, 5, True), rollout("a", 0, 5, True)], [10], 10, 0, **WHO)


@pytest.mark.parametrize(("rollouts", "budgets"), [([], [10]), (EXAMPLE, []), (EXAMPLE, [0])])
def test_nothing_to_score_is_refused(rollouts, budgets):
    with pytest.raises(ValueError, match=r"no rollouts to score|budgets_tokens"):
        score_budgets(rollouts, budgets, 10, 0, **WHO)


@pytest.mark.parametrize("num_samples", [1, 2, 8, 64])
def test_pass_at_k_is_the_binomial_formula(num_samples):
    for num_correct in range(num_samples + 1):
        for k in range(1, num_samples + 1):
            expected = 1 - math.comb(num_samples - num_correct, k) / math.comb(num_samples, k)
            assert pass_at_k(num_samples, num_correct, k) == pytest.approx(expected, abs=1e-12)


def test_pass_at_k_survives_huge_binomials():
    assert pass_at_k(10_000, 1, 5_000) == pytest.approx(0.5)


@pytest.mark.parametrize(("num_samples", "num_correct", "k"), [(4, 1, 5), (4, 1, 0), (4, 5, 2), (4, -1, 2)])
def test_pass_at_k_never_counts_samples_never_drawn(num_samples, num_correct, k):
    with pytest.raises(ValueError, match="samples drawn"):
        pass_at_k(num_samples, num_correct, k)


def test_the_interval_has_the_width_theory_gives():
    # 400 prompts, half of them right: standard error 0.025, so mean ± 1.96 * 0.025.
    scores_PB = np.repeat([[0.0], [1.0]], 200, axis=0)
    (low, high), *_ = bootstrap_intervals(scores_PB, 4000, seed=0)
    assert low == pytest.approx(0.451, abs=0.005)
    assert high == pytest.approx(0.549, abs=0.005)


def test_the_bootstrap_resamples_prompts_not_samples():
    # Eight equal samples a prompt carry no more information than one.
    one = [rollout(f"p{index}", 0, 5, index % 2 == 0) for index in range(100)]
    eight = [rollout(f"p{index}", sample, 5, index % 2 == 0) for index in range(100) for sample in range(8)]
    (few,), (many,) = (score_budgets(rollouts, [10], 500, 3, **WHO) for rollouts in (one, eight))
    assert (few.ci_low, few.ci_high) == (many.ci_low, many.ci_high)
    assert few.ci_high - few.ci_low > 0.15


def test_same_seed_same_interval():
    first, again, other = (score_budgets(EXAMPLE, [20], 50, seed, **WHO) for seed in (5, 5, 6))
    assert first == again
    assert first[0].mean_at_k == other[0].mean_at_k


def test_a_large_bootstrap_is_fast():
    scores_PB = np.random.default_rng(0).integers(0, 9, size=(1000, 5)) / 8
    start = time.process_time()
    intervals = bootstrap_intervals(scores_PB, 2000, seed=1)
    assert time.process_time() - start < 2.0
    assert (intervals[:, 0] < scores_PB.mean(axis=0)).all() and (scores_PB.mean(axis=0) < intervals[:, 1]).all()
