"""Laws of group advantages and of the loss."""

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.grpo import group_advantages, k3_kl, policy_loss

REWARDS = st.lists(st.integers(-8, 8).map(lambda eighths: eighths / 8), min_size=2, max_size=24)


def advantages_of(rewards: list[float]) -> torch.Tensor:
    return group_advantages(torch.tensor([rewards], dtype=torch.float64))[0]


@settings(deadline=None)
@given(REWARDS)
def test_advantages_of_a_group_sum_to_zero(rewards):
    assert abs(advantages_of(rewards).sum().item()) < 1e-9


@settings(deadline=None)
@given(REWARDS, st.randoms(use_true_random=False))
def test_permuting_a_group_permutes_its_advantages(rewards, generator):
    order = list(range(len(rewards)))
    generator.shuffle(order)
    permuted = advantages_of([rewards[index] for index in order])
    torch.testing.assert_close(permuted, advantages_of(rewards)[order], rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(REWARDS, st.floats(-10, 10))
def test_a_constant_added_to_all_rewards_changes_nothing(rewards, constant):
    shifted = advantages_of([reward + constant for reward in rewards])
    torch.testing.assert_close(shifted, advantages_of(rewards), rtol=1e-8, atol=1e-8)


@settings(deadline=None)
@given(REWARDS)
def test_a_higher_reward_never_has_a_lower_advantage(rewards):
    advantages = advantages_of(rewards).tolist()
    pairs = sorted(zip(rewards, advantages, strict=True))
    assert all(low[1] <= high[1] for low, high in pairwise(pairs))


@settings(deadline=None)
@given(st.integers(3, 24), st.data())
def test_the_rarer_the_positive_the_larger_its_advantage(num_rollouts, data):
    fewer = data.draw(st.integers(1, num_rollouts - 2))
    more = data.draw(st.integers(fewer + 1, num_rollouts - 1))
    rare, common = (advantages_of([1.0] * positives + [0.0] * (num_rollouts - positives))[0] for positives in (fewer, more))
    assert rare > common > 0


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=12), st.integers(0, 2**12 - 1))
def test_a_masked_rollout_has_no_gradient(shifts, mask_bits):
    mask_B1 = torch.tensor([[bool(mask_bits >> row & 1)] for row in range(len(shifts))])
    logprobs_BT = torch.tensor([shifts], dtype=torch.float64).T.repeat(1, 3).requires_grad_(True)
    advantages_B = torch.ones(len(shifts), dtype=torch.float64)
    loss, _ = policy_loss(logprobs_BT, torch.zeros_like(logprobs_BT), advantages_B, mask_B1.expand(-1, 3), 0.2, 0.28, 5)
    (gradient_BT,) = torch.autograd.grad(loss, logprobs_BT)
    assert torch.equal(gradient_BT[~mask_B1[:, 0]], torch.zeros_like(gradient_BT[~mask_B1[:, 0]]))


@settings(deadline=None)
@given(st.floats(-20, 0), st.floats(-20, 0))
def test_k3_is_never_negative(logprob, reference_logprob):
    assert k3_kl(torch.tensor([[logprob]]).double(), torch.tensor([[reference_logprob]]).double()).item() >= -1e-12
