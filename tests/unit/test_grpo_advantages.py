"""Advantages: golden values by hand and an independent plain-Python computation."""

import math
import random
import statistics

import pytest
import torch

from pipeline_lib.grpo import batch_moments, group_advantages, whiten
from pipeline_lib.messages.finite import NotFiniteError

ESTIMATORS = ("grpo", "mean", "rloo", "batch_whitened")


def advantages_by_hand(rewards, estimator, counted):
    """Advantages of one group, one rollout at a time."""
    pool = [reward for reward, used in zip(rewards, counted, strict=True) if used]
    if len(pool) < 2 or len(set(pool)) == 1:
        return [0.0] * len(rewards)
    advantages = []
    for position, (reward, used) in enumerate(zip(rewards, counted, strict=True)):
        if not used:
            advantages.append(0.0)
        elif estimator == "grpo":
            advantages.append((reward - statistics.mean(pool)) / (statistics.stdev(pool) + 1e-4))
        elif estimator == "rloo":
            others = [other for index, other in enumerate(rewards) if counted[index] and index != position]
            advantages.append(reward - statistics.mean(others))
        else:
            advantages.append(reward - statistics.mean(pool))
    return advantages


def tensor(rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_grpo_by_hand():
    # {1,0,0,0}: mean 1/4, n-1 variance (9/16 + 3/16) / 3 = 1/4, so 0.75 / 0.5001 and -0.25 / 0.5001.
    advantages_PN = group_advantages(tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]]))
    rare, common = 0.75 / 0.5001, 0.25 / 0.5001
    expected_PN = tensor([[rare, -common, -common, -common], [common, common, common, -rare]])
    torch.testing.assert_close(advantages_PN, expected_PN, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        ("mean", [0.75, -0.25, -0.25, -0.25]),
        ("batch_whitened", [0.75, -0.25, -0.25, -0.25]),
        ("rloo", [1.0, -1 / 3, -1 / 3, -1 / 3]),  # the others' means: 0 for the positive, 1/3 for the negatives
    ],
)
def test_other_estimators_by_hand(estimator, expected):
    assert group_advantages(tensor([[1.0, 0.0, 0.0, 0.0]]), estimator)[0].tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_advantages_equal_a_plain_loop(estimator):
    generator = random.Random(5)
    rewards = [[generator.choice([-0.5, 0.0, 0.3, 1.0, 1.4]) for _ in range(6)] for _ in range(40)]
    counted = [[generator.random() < 0.6 for _ in range(6)] for _ in range(40)]
    everything = [[True] * 6] * 40
    for used, argument in ((counted, torch.tensor(counted)), (everything, torch.tensor(everything)), (everything, None)):
        expected = [advantages_by_hand(row, estimator, flags) for row, flags in zip(rewards, used, strict=True)]
        torch.testing.assert_close(
            group_advantages(tensor(rewards), estimator, argument), tensor(expected), rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_equal_rewards_give_exactly_no_advantage(estimator):
    # 0.1 summed seven times and divided does not come back as 0.1 in floating point.
    rewards_PN = torch.full((3, 7), 0.1)
    assert torch.equal(group_advantages(rewards_PN, estimator), torch.zeros(3, 7))


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    "counted",
    [
        [False, False, False, False],
        [True, False, False, False],
        [False, True, True, True],  # all 0.1
    ],
)
def test_a_group_whose_counted_rewards_are_equal_has_exactly_no_advantage(estimator, counted):
    advantages_PN = group_advantages(torch.tensor([[1.0, 0.1, 0.1, 0.1]]), estimator, torch.tensor([counted]))
    assert torch.equal(advantages_PN, torch.zeros(1, 4))


def test_uncounted_rollouts_move_neither_the_baseline_nor_themselves():
    counted_PN = torch.tensor([[True, True, True, False]])
    advantages = group_advantages(tensor([[1.0, 0.0, 0.5, 99.0]]), "mean", counted_PN)[0].tolist()
    assert advantages == [0.5, -0.5, 0.0, 0.0]


@pytest.mark.parametrize(
    ("estimator", "rare", "common"),
    [("grpo", 0.75 / 0.5001, 0.25 / 0.5001), ("mean", 3 / 4, 1 / 4), ("batch_whitened", 3 / 4, 1 / 4), ("rloo", 1.0, 1 / 3)],
)
def test_the_advantage_of_a_rare_positive(estimator, rare, common):
    """Finding F10: the positive of {1,0,0,0} weighs three times that of {1,1,1,0}. The two have the same std, which is 1/2."""
    advantages_P = group_advantages(tensor([[1, 0, 0, 0], [1, 1, 1, 0]]), estimator)[:, 0]
    assert advantages_P.tolist() == pytest.approx([rare, common], rel=1e-12)
    assert rare / common == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("estimator", "expected_ratio"),
    [("grpo", 7 / 4 * math.sqrt(16 / 7)), ("mean", 7 / 4), ("batch_whitened", 7 / 4), ("rloo", 7 / 4)],
)
def test_what_the_std_of_the_group_amplifies(estimator, expected_ratio):
    """Finding F10: against a positive of an even group, that of {1,0,...,0} (N = 8) has 7/4 of the advantage; the std makes it 2.65.

    n-1 variances: 7/8 · 1/8 · 8/7 = 1/8 and 1/2 · 1/2 · 8/7 = 2/7, so the std adds a factor sqrt(16/7) to 7/4.
    """
    rare, even = group_advantages(tensor([[1, 0, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0]]), estimator)[:, 0].tolist()
    # 1e-4 beside the std shifts grpo a little.
    assert rare / even == pytest.approx(expected_ratio, rel=2e-4 if estimator == "grpo" else 1e-12)


def test_whitening_divides_by_the_std_of_the_batch():
    generator = random.Random(3)
    rewards = [[generator.uniform(-1, 1) for _ in range(5)] for _ in range(7)]
    centred = [[reward - statistics.mean(group) for reward in group] for group in rewards]
    everything = [value for group in centred for value in group]
    scale = statistics.stdev(everything) + 1e-4
    expected = [[(value - statistics.mean(everything)) / scale for value in group] for group in centred]
    advantages_PN = group_advantages(tensor(rewards), "batch_whitened")
    moments = batch_moments(advantages_PN, torch.ones(7, 5, dtype=torch.bool))
    torch.testing.assert_close(whiten(advantages_PN, moments), tensor(expected), rtol=1e-12, atol=1e-12)


def test_moments_by_hand_count_used_rollouts_of_groups_with_a_signal():
    advantages_PN = tensor([[0.75, -0.25, -0.25, -0.25], [0.0, 0.0, 0.0, 0.0], [0.5, 0.0, -0.5, 0.0]])
    used_PN = torch.tensor([[True, True, True, False], [True] * 4, [True, True, True, True]])
    # Used: .75, -.25, -.25 of the first group, all four of the third, none of the second.
    assert batch_moments(advantages_PN, used_PN).tolist() == [7.0, 0.5625 + 2 * 0.0625 + 2 * 0.25]


def test_moments_of_ranks_add_up():
    advantages_PN = group_advantages(tensor([[1, 0, 0], [0.2, 0.4, 0.9], [1, 1, 1], [0, 1, 1]]), "batch_whitened")
    used_PN = torch.rand(4, 3, generator=torch.Generator().manual_seed(0)) < 0.7
    parts = batch_moments(advantages_PN[:1], used_PN[:1]) + batch_moments(advantages_PN[1:], used_PN[1:])
    torch.testing.assert_close(parts, batch_moments(advantages_PN, used_PN))


def test_groups_without_a_signal_neither_change_the_scale_nor_get_one():
    signal_PN = group_advantages(tensor([[1, 0, 0, 0], [1, 1, 0, 0]]), "batch_whitened")
    padded_PN = torch.cat([signal_PN, torch.zeros(5, 4, dtype=torch.float64)])
    alone_PN = whiten(signal_PN, batch_moments(signal_PN, torch.ones(2, 4, dtype=torch.bool)))
    among_PN = whiten(padded_PN, batch_moments(padded_PN, torch.ones(7, 4, dtype=torch.bool)))
    assert torch.equal(among_PN, torch.cat([alone_PN, torch.zeros(5, 4, dtype=torch.float64)]))


def test_whitening_keeps_every_sign_where_only_positives_are_used():
    # With the negatives masked (-I), subtracting the mean of the rest would punish the positive of the easier prompt.
    advantages_PN = group_advantages(tensor([[1, 0, 0, 0], [1, 1, 1, 0]]), "batch_whitened")
    used_PN = advantages_PN > 0
    whitened_PN = whiten(advantages_PN, batch_moments(advantages_PN, used_PN))
    assert torch.equal(whitened_PN.sign(), advantages_PN.sign())
    scale = math.sqrt((0.75**2 + 3 * 0.25**2) / 3) + 1e-4
    assert whitened_PN[used_PN].tolist() == pytest.approx([0.75 / scale, *[0.25 / scale] * 3])


def test_a_batch_without_any_signal_stays_zero():
    advantages_PN = torch.zeros(2, 3)
    assert torch.equal(whiten(advantages_PN, batch_moments(advantages_PN, torch.ones(2, 3, dtype=torch.bool))), advantages_PN)


def test_standard_deviation_is_that_of_a_sample():
    rewards = [0.2, 1.4, -0.3, 0.9, 1.1]
    expected = [(r - statistics.mean(rewards)) / (statistics.stdev(rewards) + 1e-4) for r in rewards]
    assert group_advantages(tensor([rewards]))[0].tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("estimator", ["grpo", "mean", "rloo", "batch_whitened"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_reward_that_is_not_finite_is_refused(estimator, value):
    with pytest.raises(NotFiniteError, match=rf"the reward is {value} for rollout 0 of group 1$"):
        group_advantages(torch.tensor([[1.0, 0.0, 0.0], [value, 1.0, 0.0]]), estimator)
