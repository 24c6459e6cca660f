"""Laws of group advantages and of the loss."""

import math
from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.config import TrainConfig
from pipeline_lib.grpo import batch_moments, group_advantages, k3_kl, loss_denominator, policy_loss, whiten

REWARDS = st.lists(st.integers(-8, 8).map(lambda eighths: eighths / 8), min_size=2, max_size=24)
ESTIMATORS = st.sampled_from(["grpo", "mean", "rloo", "batch_whitened"])
DEFAULTS = TrainConfig(steps=1)
LOSSES = st.builds(
    lambda **changes: DEFAULTS.model_copy(update=changes),
    loss_aggregation=st.sampled_from(["token_mean", "sequence_mean", "dr_grpo"]),
    importance_ratio=st.sampled_from(["token", "sequence"]),
    objective=st.sampled_from(["clip", "cispo"]),
    clip_low=st.floats(0, 0.9),
    clip_high=st.floats(0.01, 2),
    dual_clip=st.none() | st.floats(1.01, 5),
    engine_ratio_cap=st.none() | st.floats(0.1, 5),
    rollout_limit_tokens=st.integers(8, 64),
)
# Rollouts: advantage, and (log-prob, old log-prob) of each token.
ROLLOUTS = st.lists(
    st.tuples(st.floats(-3, 3), st.lists(st.tuples(st.floats(-4, 0), st.floats(-4, 0)), min_size=1, max_size=6)),
    min_size=1,
    max_size=5,
)


def advantages_of(rewards: list[float], estimator: str = "grpo") -> torch.Tensor:
    return group_advantages(torch.tensor([rewards], dtype=torch.float64), estimator)[0]


@settings(deadline=None)
@given(REWARDS, ESTIMATORS)
def test_advantages_of_a_group_sum_to_zero(rewards, estimator):
    assert abs(advantages_of(rewards, estimator).sum().item()) < 1e-9


@settings(deadline=None)
@given(REWARDS, ESTIMATORS, st.randoms(use_true_random=False))
def test_permuting_a_group_permutes_its_advantages(rewards, estimator, generator):
    order = list(range(len(rewards)))
    generator.shuffle(order)
    permuted = advantages_of([rewards[index] for index in order], estimator)
    torch.testing.assert_close(permuted, advantages_of(rewards, estimator)[order], rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(REWARDS, ESTIMATORS, st.floats(-10, 10))
def test_a_constant_added_to_all_rewards_changes_nothing(rewards, estimator, constant):
    shifted = advantages_of([reward + constant for reward in rewards], estimator)
    torch.testing.assert_close(shifted, advantages_of(rewards, estimator), rtol=1e-8, atol=1e-8)


@settings(deadline=None)
@given(REWARDS, ESTIMATORS, st.data())
def test_the_rewards_of_uncounted_rollouts_play_no_part(rewards, estimator, data):
    counted = data.draw(st.lists(st.booleans(), min_size=len(rewards), max_size=len(rewards)))
    changed = [reward if used else data.draw(st.floats(-100, 100)) for reward, used in zip(rewards, counted, strict=True)]
    counted_PN = torch.tensor([counted])
    one, other = (
        group_advantages(torch.tensor([row], dtype=torch.float64), estimator, counted_PN) for row in (rewards, changed)
    )
    assert torch.equal(one, other)
    assert torch.equal(one[~counted_PN], torch.zeros_like(one[~counted_PN]))
    pool = [reward for reward, used in zip(rewards, counted, strict=True) if used]
    if len(pool) >= 2:
        torch.testing.assert_close(one[counted_PN], advantages_of(pool, estimator), rtol=1e-9, atol=1e-12)


@settings(deadline=None)
@given(st.lists(REWARDS.map(lambda rewards: (rewards * 4)[:4]), min_size=1, max_size=6), st.integers(0, 6))
def test_a_whitened_batch_has_variance_one_however_it_lies_on_ranks(groups, cut):
    advantages_PN = group_advantages(torch.tensor(groups, dtype=torch.float64), "batch_whitened")
    used_PN = torch.ones_like(advantages_PN, dtype=torch.bool)
    moments = sum(batch_moments(advantages_PN[part], used_PN[part]) for part in (slice(0, cut), slice(cut, None)))
    whitened_PN = whiten(advantages_PN, moments)
    signal_P = (advantages_PN != 0).any(dim=1)
    assert torch.equal(whitened_PN[~signal_P], torch.zeros_like(whitened_PN[~signal_P]))
    if signal_P.any():
        std = advantages_PN[signal_P].std()
        torch.testing.assert_close(whitened_PN[signal_P].std(), std / (std + 1e-4))


@settings(deadline=None)
@given(REWARDS, ESTIMATORS)
def test_a_higher_reward_never_has_a_lower_advantage(rewards, estimator):
    advantages = advantages_of(rewards, estimator).tolist()
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
    mask_BT = mask_B1.expand(-1, 3)
    loss, _ = policy_loss(logprobs_BT, torch.zeros_like(logprobs_BT), advantages_B, mask_BT, DEFAULTS, 5, 5)
    (gradient_BT,) = torch.autograd.grad(loss, logprobs_BT)
    assert torch.equal(gradient_BT[~mask_B1[:, 0]], torch.zeros_like(gradient_BT[~mask_B1[:, 0]]))


def padded(rollouts):
    """Log-probs, old log-probs, advantages and mask of rollouts of unequal length."""
    width = max(len(tokens) for _, tokens in rollouts)
    rows = [[tokens[t] if t < len(tokens) else (0.0, 0.0) for t in range(width)] for _, tokens in rollouts]
    pairs = torch.tensor(rows, dtype=torch.float64)
    mask_BT = torch.tensor([[t < len(tokens) for t in range(width)] for _, tokens in rollouts])
    return pairs[:, :, 0], pairs[:, :, 1], torch.tensor([a for a, _ in rollouts], dtype=torch.float64), mask_BT


@settings(deadline=None)
@given(ROLLOUTS)
def test_the_default_loss_is_the_papers(rollouts):
    """Token-level GRPO with clips .2 and .28, and nothing else."""
    tokens = sum(len(row) for _, row in rollouts)
    gain = 0.0
    for advantage, row in rollouts:
        for new, old in row:
            ratio = math.exp(new - old)
            gain += min(ratio * advantage, min(max(ratio, 0.8), 1.28) * advantage)
    loss, _ = policy_loss(*padded(rollouts), DEFAULTS, loss_denominator([len(row) for _, row in rollouts], DEFAULTS), tokens)
    assert math.isclose(loss.item(), -gain / tokens, rel_tol=1e-9, abs_tol=1e-12)


@settings(deadline=None)
@given(ROLLOUTS, LOSSES, st.integers(0, 5))
def test_the_parts_of_a_step_add_up(rollouts, loss_settings, cut):
    """Whatever the settings, and however rollouts are cut into micro-batches or ranks."""
    lengths = [len(row) for _, row in rollouts]
    denominator, tokens = loss_denominator(lengths, loss_settings), sum(lengths)
    tensors = padded(rollouts)
    engine_BT = tensors[1] + 0.3 * torch.sin(torch.arange(tensors[1].numel())).reshape(tensors[1].shape)

    def loss_of(rows: slice) -> tuple[float, torch.Tensor]:
        logprobs_BT = tensors[0].clone().requires_grad_(True)
        parts = [logprobs_BT[rows], *(tensor[rows] for tensor in tensors[1:])]
        loss, _ = policy_loss(*parts, loss_settings, denominator, tokens, engine_BT[rows])
        return loss.item(), torch.autograd.grad(loss, logprobs_BT)[0]

    whole, whole_gradient = loss_of(slice(None))
    (first, first_gradient), (second, second_gradient) = loss_of(slice(0, cut)), loss_of(slice(cut, None))
    assert math.isclose(first + second, whole, rel_tol=1e-9, abs_tol=1e-9)
    torch.testing.assert_close(first_gradient + second_gradient, whole_gradient)


@settings(deadline=None)
@given(ROLLOUTS, LOSSES)
def test_a_further_rollout_without_advantage_only_dilutes(rollouts, loss_settings):
    """So zero-variance groups and masked rollouts must not be counted: with them the same gradient becomes smaller."""
    lengths = [len(row) for _, row in rollouts]
    longer = [*rollouts, (0.0, [(-1.0, -1.0)] * 3)]
    alone, among = loss_denominator(lengths, loss_settings), loss_denominator([*lengths, 3], loss_settings)
    losses = [
        policy_loss(*padded(rows), loss_settings, denominator, 1, padded(rows)[1])[0].item()
        for rows, denominator in ((rollouts, alone), (longer, among))
    ]
    assert among > alone
    assert math.isclose(losses[1], losses[0] * alone / among, rel_tol=1e-9, abs_tol=1e-12)


@settings(deadline=None)
@given(ROLLOUTS, LOSSES, st.floats(1.01, 3))
def test_dual_clip_only_lowers_the_loss(rollouts, loss_settings, dual_clip):
    lengths = [len(row) for _, row in rollouts]
    tensors, denominator = padded(rollouts), loss_denominator(lengths, loss_settings)
    without, within = (
        policy_loss(
            *tensors, loss_settings.model_copy(update={"objective": "clip", "dual_clip": bound}), denominator, 1, tensors[1]
        )[0]
        for bound in (None, dual_clip)
    )
    assert within <= without + 1e-12


@settings(deadline=None)
@given(st.floats(-20, 0), st.floats(-20, 0))
def test_k3_is_never_negative(logprob, reference_logprob):
    assert k3_kl(torch.tensor([[logprob]]).double(), torch.tensor([[reference_logprob]]).double()).item() >= -1e-12
