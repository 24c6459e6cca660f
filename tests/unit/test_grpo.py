"""The policy loss: golden values by hand, an independent plain-Python loop, gradients against finite differences."""

import itertools
import math
import random

import pytest
import torch

from pipeline_lib.config import TrainConfig
from pipeline_lib.grpo import aggregate, k3_kl, loss_denominator, policy_loss


def varied(settings, **changes):
    return settings.model_copy(update=changes)


PAPER = TrainConfig(
    steps=1,
    loss_aggregation="token_mean",
    importance_ratio="token",
    objective="clip",
    clip_low=0.2,
    clip_high=0.28,
    dual_clip=None,
    engine_ratio_cap=None,
    rollout_limit_tokens=16,
)
AGGREGATIONS = ("token_mean", "sequence_mean", "dr_grpo")
# Clips that random ratios do reach, the geometric mean of a rollout among them.
VARIANTS = [
    varied(
        PAPER,
        loss_aggregation=aggregation,
        importance_ratio=ratio,
        objective=objective,
        dual_clip=dual_clip,
        engine_ratio_cap=cap,
    )
    for aggregation, ratio, objective, dual_clip, cap in itertools.product(
        AGGREGATIONS, ("token", "sequence"), ("clip", "cispo"), (None, 1.4), (None, 1.1)
    )
    if not (objective == "cispo" and dual_clip)
]


def label(settings):
    parts = (
        settings.loss_aggregation,
        settings.importance_ratio,
        settings.objective,
        settings.dual_clip,
        settings.engine_ratio_cap,
    )
    return "-".join(str(part) for part in parts)


def gain_by_hand(ratio, advantage, logprob, settings):
    """Gain of one token, and whether the clip acts on it."""
    if settings.objective == "cispo":
        return min(ratio, 1 + settings.clip_high) * advantage * logprob, ratio > 1 + settings.clip_high
    if advantage >= 0:
        return min(ratio, 1 + settings.clip_high) * advantage, advantage > 0 and ratio > 1 + settings.clip_high
    if settings.dual_clip is not None and ratio > settings.dual_clip:
        return settings.dual_clip * advantage, True
    return max(ratio, 1 - settings.clip_low) * advantage, ratio < 1 - settings.clip_low


def loss_by_hand(batch, settings):
    """Loss and metrics of a whole step, one token at a time."""
    rollout_sums, lengths, clipped, capped, ratios, kl = [], [], 0, 0, 0.0, 0.0
    for new, old, advantage, mask, engine in zip(*batch, strict=True):
        used = [position for position, flag in enumerate(mask) if flag]
        mean_log_ratio = sum(new[t] - old[t] for t in used) / len(used)
        total = 0.0
        for t in used:
            log_ratio = mean_log_ratio if settings.importance_ratio == "sequence" else new[t] - old[t]
            gain, is_clipped = gain_by_hand(math.exp(log_ratio), advantage, new[t], settings)
            weight = math.exp(old[t] - engine[t])
            if settings.engine_ratio_cap is not None:
                capped += weight > settings.engine_ratio_cap
                gain *= min(weight, settings.engine_ratio_cap)
            total += gain
            clipped += is_clipped
            ratios += math.exp(log_ratio)
            kl += math.exp(new[t] - old[t]) - (new[t] - old[t]) - 1
        rollout_sums.append(total)
        lengths.append(len(used))
    if settings.loss_aggregation == "token_mean":
        gain = sum(rollout_sums) / sum(lengths)
    elif settings.loss_aggregation == "sequence_mean":
        gain = sum(total / length for total, length in zip(rollout_sums, lengths, strict=True)) / len(lengths)
    else:
        gain = sum(rollout_sums) / (len(lengths) * settings.rollout_limit_tokens)
    tokens = sum(lengths)
    metrics = {
        "clip_fraction": clipped / tokens,
        "ratio": ratios / tokens,
        "policy_kl": kl / tokens,
        "engine_ratio_capped_fraction": capped / tokens,
    }
    return -gain, metrics


def random_batch(seed, rows=5, tokens=7):
    generator = random.Random(seed)
    old = [[generator.uniform(-3, -0.01) for _ in range(tokens)] for _ in range(rows)]
    drift = [generator.uniform(-0.5, 0.5) for _ in range(rows)]  # so that geometric means leave the clip range, too
    new = [[value + shift + generator.uniform(-0.4, 0.4) for value in row] for row, shift in zip(old, drift, strict=True)]
    engine = [[value + generator.uniform(-0.3, 0.3) for value in row] for row in old]
    advantages = [generator.uniform(-2, 2) for _ in range(rows)]
    lengths = [generator.randint(1, tokens) for _ in range(rows)]
    mask = [[position < length for position in range(tokens)] for length in lengths]
    return new, old, advantages, mask, engine


def as_tensors(batch):
    new, old, advantages, mask, engine = batch
    new, old, advantages, engine = (torch.tensor(values, dtype=torch.float64) for values in (new, old, advantages, engine))
    return new, old, advantages, torch.tensor(mask), engine


def step_loss(tensors, settings, denominator=None, num_tokens=None):
    """Loss and metrics of a micro-batch; by default it is the whole step."""
    new, old, advantages, mask, engine = tensors
    lengths = mask.sum(dim=1).tolist()
    denominator = denominator or loss_denominator(lengths, settings)
    return policy_loss(new, old, advantages, mask, settings, denominator, num_tokens or sum(lengths), engine)


def test_the_settings_of_a_default_run_are_the_papers():
    config = TrainConfig(steps=1)
    assert config == varied(PAPER, rollout_limit_tokens=16384)
    assert (config.advantage, config.kl_coefficient, config.staleness) == ("grpo", 0.0, 1)
    assert (config.negative_rollouts, config.overlong_filtering, config.masked_in_baseline) == ("vanilla", False, True)


@pytest.mark.parametrize("settings", VARIANTS, ids=label)
def test_loss_equals_a_plain_loop(settings):
    acting = dict.fromkeys(("clip_fraction", "engine_ratio_capped_fraction"), 0.0)
    for seed in range(6):
        batch = random_batch(seed)
        expected_loss, expected_metrics = loss_by_hand(batch, settings)
        loss, metrics = step_loss(as_tensors(batch), settings)
        assert loss.item() == pytest.approx(expected_loss, rel=1e-12)
        assert {name: value.item() for name, value in metrics.items()} == pytest.approx(expected_metrics, rel=1e-6, abs=1e-9)
        acting = {name: value + expected_metrics[name] for name, value in acting.items()}
    assert acting["clip_fraction"] > 0
    assert (acting["engine_ratio_capped_fraction"] > 0) is (settings.engine_ratio_cap is not None)


@pytest.mark.parametrize(
    ("ratio", "advantage", "dual_clip", "expected_loss", "expected_slope", "clipped"),
    [
        (1.0, 2.0, None, -2.0, -2.0, False),
        (1.27, 1.0, None, -1.27, -1.27, False),
        (1.5, 1.0, None, -1.28, 0.0, True),
        (0.5, 1.0, None, -0.5, -0.5, False),
        (0.5, -1.0, None, 0.8, 0.0, True),
        (0.81, -1.0, None, 0.81, 0.81, False),
        (3.0, -1.0, None, 3.0, 3.0, False),
        (2.9, -1.0, 3.0, 2.9, 2.9, False),
        (4.0, -1.0, 3.0, 3.0, 0.0, True),
        (4.0, -2.0, 3.0, 6.0, 0.0, True),
        (4.0, 1.0, 3.0, -1.28, 0.0, True),
        (0.5, -1.0, 3.0, 0.8, 0.0, True),
        (0.5, 1.0, 3.0, -0.5, -0.5, False),
    ],
)
def test_each_side_of_the_clips(ratio, advantage, dual_clip, expected_loss, expected_slope, clipped):
    # d(ratio)/d(logprob) = ratio, so the slope of an unclipped token is -ratio * advantage.
    logprobs_BT = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    old_BT, mask_BT = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1)
    settings = varied(PAPER, dual_clip=dual_clip)
    loss, metrics = policy_loss(logprobs_BT, old_BT, torch.tensor([advantage]).double(), mask_BT, settings, 1, 1)
    (slope_BT,) = torch.autograd.grad(loss, logprobs_BT)
    assert loss.item() == pytest.approx(expected_loss)
    assert slope_BT.item() == pytest.approx(expected_slope)
    assert bool(metrics["clip_fraction"]) is clipped


@pytest.mark.parametrize(
    ("ratio", "advantage", "weight", "capped"),
    [
        (0.1, 1.0, 0.1, False),
        (1.0, -2.0, 1.0, False),
        (1.27, 1.0, 1.27, False),
        (5.0, 1.0, 1.28, True),
        (5.0, -1.0, 1.28, True),
    ],
)
def test_cispo_caps_the_weight_and_keeps_every_gradient(ratio, advantage, weight, capped):
    logprobs_BT = torch.tensor([[-2.0]], dtype=torch.float64, requires_grad=True)
    old_BT = torch.tensor([[-2.0 - math.log(ratio)]], dtype=torch.float64)
    settings = varied(PAPER, objective="cispo")
    loss, metrics = policy_loss(logprobs_BT, old_BT, torch.tensor([advantage]).double(), torch.ones(1, 1), settings, 1, 1)
    (slope_BT,) = torch.autograd.grad(loss, logprobs_BT)
    assert loss.item() == pytest.approx(2.0 * weight * advantage)
    assert slope_BT.item() == pytest.approx(-weight * advantage)
    assert bool(metrics["clip_fraction"]) is capped


def test_gspo_by_hand():
    # Log-ratios .1 and .3 have the geometric mean exp(.2) on both tokens; log-ratios of .2 and .4 that of exp(.3), above 1.28.
    new_BT = torch.tensor([[-0.9, -0.7], [-0.8, -0.6]], dtype=torch.float64, requires_grad=True)
    old_BT = torch.full((2, 2), -1.0, dtype=torch.float64)
    settings = varied(PAPER, importance_ratio="sequence", loss_aggregation="sequence_mean")
    loss, metrics = policy_loss(new_BT, old_BT, torch.tensor([2.0, 1.0]).double(), torch.ones(2, 2), settings, 2, 4)
    (gradient_BT,) = torch.autograd.grad(loss, new_BT)
    assert loss.item() == pytest.approx(-(2 * math.exp(0.2) + 1.28) / 2)
    # Two rollouts of two tokens: -s · A / (2 · 2) each; nothing where the rollout is clipped.
    assert gradient_BT.flatten().tolist() == pytest.approx([-math.exp(0.2) / 2] * 2 + [0.0] * 2)
    assert metrics["clip_fraction"].item() == 0.5


def test_the_engine_weight_is_truncated_and_has_no_gradient():
    # Trainer / engine: 1/2, 1 and 4, the last truncated at 2; on-policy the ratio is 1 and each slope is minus the weight.
    old_BT = torch.tensor([[math.log(0.2), math.log(0.3), math.log(0.4)]], dtype=torch.float64)
    engine_BT = torch.tensor([[math.log(0.4), math.log(0.3), math.log(0.1)]], dtype=torch.float64)
    new_BT = old_BT.clone().requires_grad_(True)
    settings = varied(PAPER, engine_ratio_cap=2.0)
    loss, metrics = policy_loss(new_BT, old_BT, torch.ones(1).double(), torch.ones(1, 3), settings, 3, 3, engine_BT)
    (gradient_BT,) = torch.autograd.grad(loss, new_BT)
    assert loss.item() == pytest.approx(-(0.5 + 1 + 2) / 3)
    assert gradient_BT[0].tolist() == pytest.approx([-0.5 / 3, -1 / 3, -2 / 3])
    assert metrics["engine_ratio_capped_fraction"].item() == pytest.approx(1 / 3)
    # The same tensor as old and new: the ratio is constant, and what gradient there were would have come through the weight.
    loss, _ = policy_loss(new_BT, new_BT, torch.ones(1).double(), torch.ones(1, 3), settings, 3, 3, engine_BT)
    (gradient_BT,) = torch.autograd.grad(loss, new_BT)
    assert torch.equal(gradient_BT, torch.zeros_like(gradient_BT))


@pytest.mark.parametrize("settings", [variant for variant in VARIANTS if variant.objective == "clip"], ids=label)
def test_gradient_agrees_with_finite_differences(settings):
    new, *others = as_tensors(random_batch(11))
    assert torch.autograd.gradcheck(lambda logprobs: step_loss((logprobs, *others), settings)[0], new.requires_grad_(True))


@pytest.mark.parametrize("settings", [variant for variant in VARIANTS if variant.objective == "cispo"], ids=label)
def test_gradient_of_cispo_is_minus_the_weight_times_the_advantage(settings):
    batch = new, old, advantages, mask, engine = random_batch(11)
    tensors = as_tensors(batch)
    loss, _ = step_loss((tensors[0].requires_grad_(True), *tensors[1:]), settings)
    (gradient_BT,) = torch.autograd.grad(loss, tensors[0])
    lengths = [sum(row) for row in mask]
    for row, position in itertools.product(range(5), range(7)):
        if not mask[row][position]:
            assert gradient_BT[row, position] == 0
            continue
        used = range(lengths[row]) if settings.importance_ratio == "sequence" else [position]
        weight = min(math.exp(sum(new[row][t] - old[row][t] for t in used) / len(used)), 1.28)
        if settings.engine_ratio_cap:
            weight *= min(math.exp(old[row][position] - engine[row][position]), settings.engine_ratio_cap)
        share = {"token_mean": 1 / sum(lengths), "sequence_mean": 1 / lengths[row] / 5, "dr_grpo": 1 / (5 * 16)}
        expected = -weight * advantages[row] * share[settings.loss_aggregation]
        assert gradient_BT[row, position].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("settings", VARIANTS, ids=label)
def test_what_is_masked_has_no_gradient_and_no_value(settings):
    new, old, advantages, mask, engine = as_tensors(random_batch(3))
    clean_loss, _ = step_loss((new, old, advantages, mask, engine), settings)
    dirty_BT = new.masked_fill(~mask, float("nan")).requires_grad_(True)
    dirty = (dirty_BT, old.masked_fill(~mask, -torch.inf), advantages, mask, engine.masked_fill(~mask, float("nan")))
    loss, metrics = step_loss(dirty, settings)
    (gradient_BT,) = torch.autograd.grad(loss, dirty_BT)
    assert loss.item() == clean_loss.item()
    assert torch.equal(gradient_BT[~mask], torch.zeros(int((~mask).sum()), dtype=torch.float64))
    assert torch.isfinite(gradient_BT).all()
    assert all(torch.isfinite(metric) for metric in metrics.values())


@pytest.mark.parametrize("settings", VARIANTS, ids=label)
def test_micro_batches_add_up(settings):
    tensors = as_tensors(random_batch(7, rows=6))
    lengths = tensors[3].sum(dim=1).tolist()
    whole, whole_metrics = step_loss(tensors, settings)
    parts = [slice(0, 2), slice(2, 6)]
    denominator = sum(loss_denominator(lengths[rows], settings) for rows in parts)
    losses = [step_loss([t[rows] for t in tensors], settings, denominator, sum(lengths)) for rows in parts]
    assert sum(loss.item() for loss, _ in losses) == pytest.approx(whole.item(), rel=1e-12)
    for name, value in whole_metrics.items():
        assert sum(metrics[name].item() for _, metrics in losses) == pytest.approx(value.item(), rel=1e-6)


@pytest.mark.parametrize("settings", VARIANTS, ids=label)
def test_a_row_without_any_response_token_adds_nothing(settings):
    """What fills up a rank's micro-batches has no token in the mask, and neither value, gradient nor metrics."""
    new, old, advantages, mask, engine = as_tensors(random_batch(3, rows=3))
    new.requires_grad_(True)
    empty_BT = torch.zeros_like(mask)
    loss, metrics = policy_loss(new, old, advantages, empty_BT, settings, 5, 5, engine)
    (gradient_BT,) = torch.autograd.grad(loss, new)
    assert loss.item() == 0
    assert torch.equal(gradient_BT, torch.zeros_like(new))
    assert all(metric.item() == 0 for metric in metrics.values())


@pytest.mark.parametrize(("aggregation", "expected"), [("token_mean", 60.0), ("sequence_mean", 3.0), ("dr_grpo", 3 * 16.0)])
def test_the_denominator_counts_what_is_trained_on(aggregation, expected):
    settings = varied(PAPER, loss_aggregation=aggregation)
    assert loss_denominator([10, 20, 30], settings) == expected
    assert loss_denominator([], settings) == 0


def test_a_step_without_rollouts_is_refused():
    tensors = as_tensors(random_batch(0))[:4]
    with pytest.raises(AssertionError, match="must be skipped"):
        policy_loss(*tensors, PAPER, loss_denominator([], PAPER), 0)


@pytest.mark.parametrize(
    ("aggregation", "short_share", "long_share"),
    [("token_mean", 1 / 8, 1 / 8), ("sequence_mean", 1 / 4, 1 / 12), ("dr_grpo", 1 / 32, 1 / 32)],
)
def test_what_each_aggregation_makes_of_length(aggregation, short_share, long_share):
    """A token of a 2-token and of a 6-token rollout, L_R = 16: only sequence_mean weighs it by the length of its rollout."""
    mask_BT = torch.tensor([[True] * 2 + [False] * 4, [True] * 6])
    values_BT = torch.zeros(2, 6, dtype=torch.float64, requires_grad=True)
    settings = varied(PAPER, loss_aggregation=aggregation)
    total = aggregate(values_BT, mask_BT, settings, loss_denominator([2, 6], settings))
    (weights_BT,) = torch.autograd.grad(total, values_BT)
    expected_BT = [[short_share] * 2 + [0.0] * 4, [long_share] * 6]
    torch.testing.assert_close(weights_BT, torch.tensor(expected_BT, dtype=torch.float64))


def test_on_policy_metrics_are_neutral():
    new, _, advantages, mask, engine = random_batch(2)
    loss, metrics = step_loss(as_tensors((new, new, advantages, mask, engine)), PAPER)
    neutral = {"clip_fraction": 0.0, "ratio": 1.0, "policy_kl": 0.0, "engine_ratio_capped_fraction": 0.0}
    assert {name: value.item() for name, value in metrics.items()} == neutral
    tokens = [sum(row) for row in mask]
    assert loss.item() == pytest.approx(-sum(a * n for a, n in zip(advantages, tokens, strict=True)) / sum(tokens))


@pytest.mark.parametrize("settings", VARIANTS, ids=label)
def test_on_policy_every_variant_has_the_gradient_of_the_policy_gradient(settings):
    """With ratios of 1 nothing is clipped: minus A times the token's weight in the aggregation, whatever the objective."""
    new, _, advantages, mask, _ = as_tensors(random_batch(4))
    settings = varied(settings, engine_ratio_cap=None)
    logprobs = new.clone().requires_grad_(True)
    loss, _ = step_loss((logprobs, new, advantages, mask, new), settings)
    (gradient_BT,) = torch.autograd.grad(loss, logprobs)
    lengths_B1 = mask.sum(dim=1, keepdim=True)
    share_B1 = {
        "token_mean": 1 / lengths_B1.sum().expand_as(lengths_B1),
        "sequence_mean": 1 / lengths_B1 / len(mask),
        "dr_grpo": torch.full_like(lengths_B1, 1 / (len(mask) * 16), dtype=torch.float64),
    }[settings.loss_aggregation]
    expected_BT = -advantages[:, None] * share_B1.double() * mask
    torch.testing.assert_close(gradient_BT, expected_BT, rtol=1e-6, atol=1e-12)


def test_k3_by_hand_and_unbiased():
    assert k3_kl(torch.tensor([[-1.0]]), torch.tensor([[-1.0]])).item() == 0.0
    assert k3_kl(torch.tensor([[-1.0]]).double(), torch.tensor([[-2.0]]).double()).item() == pytest.approx(math.exp(-1))
    policy, reference = torch.tensor([0.7, 0.2, 0.1]).double(), torch.tensor([0.3, 0.3, 0.4]).double()
    exact = (policy * (policy / reference).log()).sum()
    expectation = (policy * k3_kl(policy.log(), reference.log())).sum()
    torch.testing.assert_close(expectation, exact)
