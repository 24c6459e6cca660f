"""GRPO tensors: golden values by hand, an independent plain-Python loop, gradients against finite differences."""

import math
import random
import statistics

import pytest
import torch

from pipeline_lib.grpo import group_advantages, k3_kl, loss_denominator, policy_loss

CLIP_LOW, CLIP_HIGH = 0.2, 0.28


def test_advantages_by_hand():
    # {1,0,0,0}: mean 1/4, n-1 variance (9/16 + 3/16) / 3 = 1/4, so 0.75 / 0.5001 and -0.25 / 0.5001.
    advantages_PN = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]], dtype=torch.float64))
    rare, common = 0.75 / 0.5001, 0.25 / 0.5001
    expected_PN = torch.tensor([[rare, -common, -common, -common], [common, common, common, -rare]], dtype=torch.float64)
    torch.testing.assert_close(advantages_PN, expected_PN, rtol=1e-12, atol=0)


def test_a_rare_positive_weighs_more_than_a_common_one():
    rare, common = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]]))[:, 0]
    assert rare > 2 * common > 0


def test_equal_rewards_give_exactly_no_advantage():
    # 0.1 summed seven times and divided does not come back as 0.1 in floating point.
    rewards_PN = torch.full((3, 7), 0.1)
    assert torch.equal(group_advantages(rewards_PN), torch.zeros(3, 7))


def test_the_denominator_counts_only_groups_with_a_signal():
    advantages_PN = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, -1.0]])
    assert loss_denominator(torch.tensor([[5, 6, 7], [10, 20, 30]]), advantages_PN) == 60
    assert loss_denominator(torch.tensor([[5, 6, 7]]), advantages_PN[:1]) == 0


def loss_by_hand(logprobs, old_logprobs, advantages, mask, denominator):
    """The clipped surrogate, one token at a time."""
    total, num_clipped = 0.0, 0
    for row, advantage in enumerate(advantages):
        for token, used in enumerate(mask[row]):
            if not used:
                continue
            ratio = math.exp(logprobs[row][token] - old_logprobs[row][token])
            if advantage >= 0:
                kept, clipped = min(ratio, 1 + CLIP_HIGH), ratio > 1 + CLIP_HIGH and advantage > 0
            else:
                kept, clipped = max(ratio, 1 - CLIP_LOW), ratio < 1 - CLIP_LOW
            total -= kept * advantage
            num_clipped += clipped
    return total / denominator, num_clipped / denominator


def random_batch(seed, rows=5, tokens=7):
    generator = random.Random(seed)
    old = [[generator.uniform(-3, -0.01) for _ in range(tokens)] for _ in range(rows)]
    new = [[value + generator.uniform(-0.6, 0.6) for value in row] for row in old]
    advantages = [generator.uniform(-2, 2) for _ in range(rows)]
    lengths = [generator.randint(1, tokens) for _ in range(rows)]
    mask = [[position < length for position in range(tokens)] for length in lengths]
    return new, old, advantages, mask, sum(lengths)


def as_tensors(new, old, advantages, mask):
    return (*(torch.tensor(values, dtype=torch.float64) for values in (new, old, advantages)), torch.tensor(mask))


@pytest.mark.parametrize("seed", range(5))
def test_loss_equals_a_plain_loop(seed):
    new, old, advantages, mask, denominator = random_batch(seed)
    loss, metrics = policy_loss(*as_tensors(new, old, advantages, mask), CLIP_LOW, CLIP_HIGH, denominator)
    expected_loss, expected_clip_fraction = loss_by_hand(new, old, advantages, mask, denominator)
    assert loss.item() == pytest.approx(expected_loss, rel=1e-12)
    assert metrics["clip_fraction"].item() == pytest.approx(expected_clip_fraction)


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected_loss", "expected_slope", "clipped"),
    [
        (1.0, 2.0, -2.0, -2.0, False),
        (1.27, 1.0, -1.27, -1.27, False),
        (1.5, 1.0, -1.28, 0.0, True),
        (0.5, 1.0, -0.5, -0.5, False),
        (0.5, -1.0, 0.8, 0.0, True),
        (0.81, -1.0, 0.81, 0.81, False),
        (3.0, -1.0, 3.0, 3.0, False),
    ],
)
def test_each_side_of_the_clip(ratio, advantage, expected_loss, expected_slope, clipped):
    # d(ratio)/d(logprob) = ratio, so the slope of an unclipped token is -ratio * advantage.
    logprobs_BT = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    old_BT, mask_BT = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1)
    loss, metrics = policy_loss(logprobs_BT, old_BT, torch.tensor([advantage]).double(), mask_BT, CLIP_LOW, CLIP_HIGH, 1)
    (slope_BT,) = torch.autograd.grad(loss, logprobs_BT)
    assert loss.item() == pytest.approx(expected_loss)
    assert slope_BT.item() == pytest.approx(expected_slope)
    assert bool(metrics["clip_fraction"]) is clipped


def test_gradient_agrees_with_finite_differences():
    new, old, advantages, mask = as_tensors(*random_batch(11)[:4])
    assert torch.autograd.gradcheck(
        lambda logprobs: policy_loss(logprobs, old, advantages, mask, CLIP_LOW, CLIP_HIGH, 9)[0], new.requires_grad_(True)
    )


def test_what_is_masked_has_no_gradient_and_no_value():
    new, old, advantages, mask = as_tensors(*random_batch(3)[:4])
    clean_loss, _ = policy_loss(new, old, advantages, mask, CLIP_LOW, CLIP_HIGH, 20)
    dirty_BT = new.masked_fill(~mask, float("nan")).requires_grad_(True)
    loss, metrics = policy_loss(dirty_BT, old.masked_fill(~mask, float("-inf")), advantages, mask, CLIP_LOW, CLIP_HIGH, 20)
    (gradient_BT,) = torch.autograd.grad(loss, dirty_BT)
    assert loss.item() == clean_loss.item()
    assert torch.equal(gradient_BT[~mask], torch.zeros(int((~mask).sum()), dtype=torch.float64))
    assert all(torch.isfinite(metric) for metric in metrics.values())


def test_micro_batches_add_up():
    new, old, advantages, mask, denominator = random_batch(7, rows=6)
    tensors = as_tensors(new, old, advantages, mask)
    whole, whole_metrics = policy_loss(*tensors, CLIP_LOW, CLIP_HIGH, denominator)
    parts = [policy_loss(*(t[rows] for t in tensors), CLIP_LOW, CLIP_HIGH, denominator) for rows in (slice(0, 2), slice(2, 6))]
    assert sum(loss.item() for loss, _ in parts) == pytest.approx(whole.item(), rel=1e-12)
    for name, value in whole_metrics.items():
        assert sum(metrics[name].item() for _, metrics in parts) == pytest.approx(value.item(), rel=1e-6)


def test_on_policy_metrics_are_neutral():
    new, _, advantages, mask, denominator = random_batch(2)
    loss, metrics = policy_loss(*as_tensors(new, new, advantages, mask), CLIP_LOW, CLIP_HIGH, denominator)
    assert {name: value.item() for name, value in metrics.items()} == {"clip_fraction": 0.0, "ratio": 1.0, "policy_kl": 0.0}
    tokens = [sum(row) for row in mask]
    assert loss.item() == pytest.approx(-sum(a * n for a, n in zip(advantages, tokens, strict=True)) / denominator)


def test_k3_by_hand_and_unbiased():
    assert k3_kl(torch.tensor([[-1.0]]), torch.tensor([[-1.0]])).item() == 0.0
    assert k3_kl(torch.tensor([[-1.0]]).double(), torch.tensor([[-2.0]]).double()).item() == pytest.approx(math.exp(-1))
    policy, reference = torch.tensor([0.7, 0.2, 0.1]).double(), torch.tensor([0.3, 0.3, 0.4]).double()
    exact = (policy * (policy / reference).log()).sum()
    expectation = (policy * k3_kl(policy.log(), reference.log())).sum()
    torch.testing.assert_close(expectation, exact)


def test_standard_deviation_is_that_of_a_sample():
    rewards = [0.2, 1.4, -0.3, 0.9, 1.1]
    expected = [(r - statistics.mean(rewards)) / (statistics.stdev(rewards) + 1e-4) for r in rewards]
    assert group_advantages(torch.tensor([rewards], dtype=torch.float64))[0].tolist() == pytest.approx(expected, rel=1e-12)
