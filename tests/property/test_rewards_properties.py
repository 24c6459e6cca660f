"""Laws that the rewards obey on any group: bounds, length, permutation, grouping, state."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.config import RewardConfig
from pipeline_lib.rewards import REWARDS, Outcomes, make_reward

NAMES = sorted(REWARDS)
# Each law is tried on each of the rewards.
EXAMPLES = settings(deadline=None, max_examples=50)
TARGET, LIMIT, LONGEST, MOST_ROLLOUTS = 40, 100, 150, 24

# Lowest and highest reward at the published settings, L_T = 40, L_R = 100 and lengths up to 150.
BOUNDS = {
    "adaptive_target": (0.0, 1.0),
    "alp": (-0.2 * LONGEST / LIMIT, 1.0),
    "arora_zanette": (0.0, 1.0),
    "cosine": (-1.0, 1.0),
    "dapo_overlong": (-2.0, 1.0),
    "dler": (0.0, 1.0),
    # The smallest z of N values is -(N - 1) / sqrt(N).
    "grpo_lead": (-1.0, math.exp(0.05 * (MOST_ROLLOUTS - 1) / math.sqrt(MOST_ROLLOUTS))),
    "kimi": (-0.2, 1.2),
    "l1_exact": (-0.0003 * (LONGEST - TARGET), 1.0),
    "l1_max": (0.0, 1.0),
    "lagrangian": (-0.5, 1.0),
    "laser": (0.0, 1.4),
    "laser_d": (-1.0, 1.5),
    "laser_d_art": (0.0, 1.4),
    "laser_de": (-1.0, 1.5),
    "prime_linear": (-0.25, 1.0),
    "short_rl": (-3.0, 3.5),
    "shorterbetter": (-0.001 * LONGEST, 2.0),
    "thinkprune": (0.0, 1.0),
    "truncation": (0.0, 1.0),
    "vanilla": (0.0, 1.0),
}

# Whether, within a group, a longer rollout never earns more: (among correct ones, among wrong ones).
NEVER_MORE_FOR_LONGER = {
    "adaptive_target": (True, True),
    "alp": (True, True),
    "arora_zanette": (True, True),
    "cosine": (True, False),
    "dapo_overlong": (True, True),
    "dler": (True, True),
    "grpo_lead": (True, True),
    "kimi": (True, True),
    "l1_exact": (False, False),
    "l1_max": (True, True),
    "lagrangian": (True, True),
    "laser": (True, True),
    "laser_d": (True, True),
    "laser_d_art": (True, False),
    "laser_de": (True, False),
    "prime_linear": (True, True),
    "short_rl": (True, True),
    "shorterbetter": (True, False),
    "thinkprune": (True, True),
    "truncation": (True, True),
    "vanilla": (True, True),
}

# Where no such promise is made: (shorter length, longer length, both correct or both wrong, others of the group).
COUNTER_EXAMPLES = {
    ("cosine", False): (10, 90, []),
    ("l1_exact", True): (10, 30, []),
    ("l1_exact", False): (10, 30, []),
    ("laser_d_art", False): (39, 40, []),
    ("laser_de", False): (39, 41, []),
    ("shorterbetter", False): (10, 30, [(50, True)]),
}


@st.composite
def batches(draw, any_flags=False):
    """Outcomes of 1 to 4 groups of 1 to 24 rollouts. Unless `any_flags`, what L_R cuts is neither finished nor correct."""
    shape = draw(st.integers(1, 4)), draw(st.integers(1, MOST_ROLLOUTS))
    num_cells = shape[0] * shape[1]
    # A rollout is one number, its length and three flags: drawing four values each would take most of the time.
    cells_PN = np.array(draw(st.lists(st.integers(0, 8 * LONGEST - 1), min_size=num_cells, max_size=num_cells))).reshape(shape)
    lengths_PN, (correct_PN, finished_PN, repetitive_PN) = cells_PN // 8 + 1, (cells_PN & bit > 0 for bit in (1, 2, 4))
    if not any_flags:
        finished_PN = (lengths_PN < LIMIT) | ((lengths_PN == LIMIT) & finished_PN)
        correct_PN = correct_PN & finished_PN
    return Outcomes.of(lengths_PN, correct_PN, finished_PN, repetitive_PN)


def new_reward(name, **parameters):
    return make_reward(RewardConfig(name=name, target_tokens=TARGET, parameters=parameters), LIMIT)


def rearranged(outcomes, prompts, rollouts):
    """The same outcomes with groups and rollouts in another order."""
    fields = ("lengths_PN", "correct_PN", "finished_PN", "repetitive_PN")
    return Outcomes(*(getattr(outcomes, field)[prompts][:, rollouts] for field in fields))


def test_the_tables_cover_every_reward():
    assert set(BOUNDS) == set(NEVER_MORE_FOR_LONGER) == set(REWARDS)
    unpromised = {
        (name, c)
        for name, (right, wrong) in NEVER_MORE_FOR_LONGER.items()
        for c, kept in [(True, right), (False, wrong)]
        if not kept
    }
    assert set(COUNTER_EXAMPLES) == unpromised


@pytest.mark.parametrize("name", NAMES)
@EXAMPLES
@given(earlier=batches(), batch=batches(any_flags=True))
def test_rewards_and_weighed_advantages_are_finite_and_within_bounds(name, earlier, batch):
    reward = new_reward(name)
    reward.observe(earlier)
    rewards_PN = reward.score(batch)
    assert rewards_PN.shape == batch.lengths_PN.shape and rewards_PN.dtype == np.float64
    low, high = BOUNDS[name]
    assert np.isfinite(rewards_PN).all()
    assert rewards_PN.min() >= low - 1e-12 and rewards_PN.max() <= high + 1e-12
    assert np.isfinite(reward.weigh(rewards_PN - rewards_PN.mean(), batch)).all()
    assert math.isfinite(reward.target_tokens)


@pytest.mark.parametrize("name", NAMES)
@EXAMPLES
@given(earlier=batches(), batch=batches())
def test_longer_never_earns_more_where_that_is_promised(name, earlier, batch):
    reward = new_reward(name)
    reward.observe(earlier)
    rewards_PN = reward.score(batch)
    for correct, promised in zip((True, False), NEVER_MORE_FOR_LONGER[name], strict=True):
        if not promised:
            continue
        for lengths_N, correct_N, rewards_N in zip(batch.lengths_PN, batch.correct_PN, rewards_PN, strict=True):
            pairs = sorted(
                zip(lengths_N[correct_N == correct], rewards_N[correct_N == correct], strict=True), key=lambda p: p[0]
            )
            for (shorter, better), (longer, worse) in pairwise(pairs):
                assert shorter == longer or better >= worse - 1e-12


@pytest.mark.parametrize(("name", "correct"), sorted(COUNTER_EXAMPLES))
def test_elsewhere_longer_does_earn_more(name, correct):
    shorter, longer, others = COUNTER_EXAMPLES[name, correct]
    group = [(shorter, correct), (longer, correct), *others]
    rewards_G = new_reward(name)([length for length, _ in group], [right for _, right in group])
    assert rewards_G[0] < rewards_G[1]


@pytest.mark.parametrize("name", NAMES)
@EXAMPLES
@given(batch=batches(), random=st.randoms(use_true_random=False))
def test_another_order_of_prompts_and_rollouts_gives_the_rewards_in_that_order(name, batch, random):
    prompts, rollouts = (random.sample(range(size), size) for size in batch.lengths_PN.shape)
    other = rearranged(batch, prompts, rollouts)
    one, two = new_reward(name), new_reward(name)
    one.observe(batch)
    two.observe(other)
    np.testing.assert_allclose(two.score(other), one.score(batch)[prompts][:, rollouts], rtol=1e-12, atol=1e-12)
    advantages_PN = one.score(batch) - 0.5
    np.testing.assert_allclose(
        two.weigh(advantages_PN[prompts][:, rollouts], other), one.weigh(advantages_PN, batch)[prompts][:, rollouts], rtol=1e-12
    )


@pytest.mark.parametrize("name", NAMES)
@EXAMPLES
@given(earlier=batches(), batch=batches())
def test_a_group_is_scored_alone_as_among_others(name, earlier, batch):
    reward = new_reward(name)
    reward.observe(earlier)
    together_PN = reward.score(batch)
    for prompt in range(len(together_PN)):
        alone_N = reward.score(rearranged(batch, [prompt], list(range(batch.lengths_PN.shape[1]))))[0]
        np.testing.assert_allclose(alone_N, together_PN[prompt], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@EXAMPLES
@given(before=st.lists(batches(), max_size=3), after=batches())
def test_a_checkpoint_loses_nothing_that_was_learned(name, before, after):
    reward, resumed = new_reward(name), new_reward(name)
    for batch in before:
        reward.observe(batch)
    resumed.load_state(json.loads(json.dumps(reward.state())))
    assert resumed.target_tokens == reward.target_tokens
    assert np.array_equal(resumed.score(after), reward.score(after))
    for each in (reward, resumed):
        each.observe(after)
    assert resumed.state() == reward.state() and resumed.target_tokens == reward.target_tokens
    assert np.array_equal(resumed.score(after), reward.score(after))


@EXAMPLES
@given(batches(), st.integers(1, 100), st.integers(0, 50))
def test_a_larger_target_never_lowers_the_truncation_reward(batch, target_tokens, increase):
    tight, loose = (
        make_reward(RewardConfig(name="truncation", target_tokens=tokens)).score(batch)
        for tokens in (target_tokens, target_tokens + increase)
    )
    assert (tight <= loose).all() and (loose <= new_reward("vanilla").score(batch)).all()


@EXAMPLES
@given(batches(), st.floats(0.05, 1.0))
def test_the_adaptive_target_leaves_at_most_its_share_of_correct_rollouts_out(batch, quantile):
    reward = new_reward("adaptive_target", quantile=quantile)
    reward.observe(batch)
    num_correct, num_paid = int(batch.correct_PN.sum()), int(reward.score(batch).sum())
    # Linear interpolation: the quantile lies at place q (n - 1), counted from 0, so what is paid reaches at least that far.
    assert num_paid >= math.floor(quantile * (num_correct - 1) + 1 - 1e-9) if num_correct else num_paid == 0


@EXAMPLES
@given(st.lists(batches(), min_size=1, max_size=20))
def test_the_lagrange_multiplier_stays_within_its_bounds_and_moves_with_the_mean_length(history):
    reward = new_reward("lagrangian", initial_weight=0.05)
    for batch in history:
        before, excess = reward.weight, batch.lengths_PN.mean() - TARGET
        reward.observe(batch)
        assert 0.0 <= reward.weight <= 0.1
        assert (reward.weight - before) * excess >= 0


@EXAMPLES
@given(st.lists(batches(), min_size=1, max_size=5))
def test_the_targets_of_the_bands_lie_on_the_grid_up_to_the_limit(history):
    reward = new_reward("laser_d", lower_bound_tokens=20, step_tokens=20)
    for batch in history:
        reward.observe(batch)
    assert set(reward.band_targets.values()) <= {20.0, 40.0, 60.0, 80.0, 100.0}
