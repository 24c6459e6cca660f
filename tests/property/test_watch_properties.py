"""Laws of the dynamics watch: healthy noise raises nothing, each collapse its own kind, and resuming changes nothing."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.config import WatchConfig
from pipeline_lib.training.watch import DynamicsWatch, split_phases

SEEDS = st.integers(0, 2**32 - 1)
# Steps, first and last length (tokens), first and last entropy (nats), prompts a step of 8 rollouts, and the noise of a step as
# it was seen in the tiny world with 20 prompts a step; with 128 prompts it is about a third.
TINY_WORLD = (100, 80.0, 37.0, 0.048, 0.025, 20, 0.10, 0.15)
PAPER = (800, 6000.0, 2000.0, 0.30, 0.15, 128, 0.04, 0.05)
SCALES = st.sampled_from([TINY_WORLD, PAPER])


def shares(rng, means, num_prompts):
    """Mean over prompts of 8 rollouts each; most prompts are solved nearly always or nearly never (Beta)."""
    means = np.clip(means, 0.001, 0.999)
    prompts = rng.beta(0.25 * means[:, None], 0.25 * (1 - means[:, None]), (means.size, num_prompts))
    return rng.binomial(8, prompts).mean(axis=1) / 8


def noisy_rows(seed, scale, tokens, entropy, accuracy, positive):
    rng = np.random.default_rng(seed)
    *_, num_prompts, tokens_noise, entropy_noise = scale
    columns = {
        "mean_tokens": tokens * np.exp(rng.normal(0, tokens_noise, tokens.size)),
        "entropy": entropy * np.exp(rng.normal(0, entropy_noise, tokens.size)),
        "accuracy": shares(rng, accuracy, num_prompts),
        "positive_fraction": shares(rng, positive, num_prompts),
    }
    return [{"step": row + 1} | {name: values[row] for name, values in columns.items()} for row in range(tokens.size)]


def healthy(scale, accuracy_dip=0.0):
    """Length adaptation, then refinement, with entropy rising slowly again: noiseless columns of num steps each."""
    num, longest, shortest, highest, lowest, *_ = scale
    done = np.linspace(0, 1, num)
    tokens = shortest + (longest - shortest) * np.exp(-done * 8)
    entropy = lowest + (highest - lowest) * np.exp(-done * 8) + 0.6 * lowest * np.maximum(done - 0.3, 0)
    accuracy = 0.7 + 0.15 * done - accuracy_dip * np.exp(-(((done - 0.35) / 0.15) ** 2))
    positive = 0.3 + 0.45 * np.minimum(done * 3, 1)
    return {"tokens": tokens, "entropy": entropy, "accuracy": accuracy, "positive": positive}


def raised(rows, config=None):
    return [(alarm.kind, alarm.step) for alarm in DynamicsWatch(config or WatchConfig(), "run").history(rows)]


@settings(max_examples=150, deadline=None)
@given(SEEDS, SCALES, st.floats(0, 0.15))
def test_a_healthy_run_raises_nothing(seed, scale, dip):
    assert raised(noisy_rows(seed, scale, **healthy(scale, dip))) == []


@settings(max_examples=60, deadline=None)
@given(SEEDS, SCALES)
def test_a_run_that_only_lengthens_raises_nothing(seed, scale):
    columns = healthy(scale)
    lengthens = np.linspace(scale[1], 1.3 * scale[1], scale[0])
    assert raised(noisy_rows(seed, scale, **columns | {"tokens": lengthens, "positive": columns["accuracy"]})) == []


def after(scale, kind):
    """A healthy run into which a failure breaks after three quarters; the columns and the step before it."""
    columns = healthy(scale)
    num, onset = scale[0], scale[0] * 3 // 4
    since = np.maximum(np.arange(num) - onset, 0)
    late = np.arange(num) >= onset
    if kind == "entropy_spike":
        columns["entropy"] = columns["entropy"] * np.minimum(np.exp(since / 4), 10)
    elif kind == "length_collapse":
        columns["tokens"] = columns["tokens"] * np.maximum(np.exp(-since / 4), 0.1)
        columns["accuracy"] = columns["accuracy"] * np.maximum(np.exp(-since / 4), 0.05)
    elif kind == "length_rebound":
        columns["tokens"] = columns["tokens"] * np.minimum(1 + since / 10, 1.75)
    else:
        columns["positive"] = np.where(late, 0.01, columns["positive"])
    return columns, onset


@settings(max_examples=120, deadline=None)
@given(SEEDS, SCALES, st.sampled_from(["entropy_spike", "length_collapse", "length_rebound", "reward_starvation"]))
def test_each_failure_raises_its_kind_soon_and_no_other(seed, scale, kind):
    columns, onset = after(scale, kind)
    alarms = raised(noisy_rows(seed, scale, **columns))
    assert {name for name, _ in alarms} == {kind}
    assert onset < alarms[0][1] <= onset + 20
    assert len(alarms) == 1


WALK = st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=60)
WATCHES = st.builds(WatchConfig, window_steps=st.integers(1, 6), hold_steps=st.integers(1, 4))


def walk_rows(changes, seed):
    """Random walks of every column, some values missing: anything may be raised."""
    rng = np.random.default_rng(seed)
    level = np.exp(np.cumsum(changes))
    columns = {
        "entropy": 0.1 * level,
        "mean_tokens": 100 * rng.permutation(level),
        "accuracy": np.clip(0.5 * rng.permutation(level), 0, 1),
        "positive_fraction": np.clip(0.1 * rng.permutation(level), 0, 1),
    }
    missing = rng.random((4, level.size)) < 0.1
    return [
        {"step": row + 1}
        | {name: None if gap[row] else values[row] for (name, values), gap in zip(columns.items(), missing, strict=True)}
        for row in range(level.size)
    ]


@settings(max_examples=150, deadline=None)
@given(WALK, SEEDS, WATCHES, st.integers(0, 20))
def test_step_by_step_raises_what_the_whole_run_raises(changes, seed, config, since_step):
    rows = walk_rows(changes, seed)
    whole = DynamicsWatch(config, "run").history(rows, since_step)
    # A new watch for every prefix: a run resumed at any step holds no other state than the rows.
    stepwise = [DynamicsWatch(config, "run").examine(rows[: num + 1], since_step) for num in range(len(rows))]
    assert [alarm for alarms in stepwise for alarm in alarms] == whole
    assert all(alarm.step > since_step for alarm in whole)


@settings(max_examples=150, deadline=None)
@given(WALK, SEEDS, WATCHES)
def test_a_kind_rests_between_two_alarms_and_order_does_not_matter(changes, seed, config):
    rows = walk_rows(changes, seed)
    alarms = DynamicsWatch(config, "run").history(rows)
    for kind in {alarm.kind for alarm in alarms}:
        at = [alarm.step for alarm in alarms if alarm.kind == kind]
        assert at[0] >= config.window_steps + config.hold_steps - 1
        assert all(gap >= config.window_steps + config.hold_steps for gap in np.diff(at))
    shuffled = [rows[index] for index in np.random.default_rng(seed).permutation(len(rows))]
    assert DynamicsWatch(config, "run").history(shuffled) == alarms


def hinge_rows(seed, num, turn, shortest_share, noise, start_step=1, unit=80.0):
    """Length that falls to `turn` and is flat from there on."""
    steps = np.arange(1, num + 1)
    tokens = unit * (shortest_share + (1 - shortest_share) * np.maximum(turn - steps, 0) / (turn - 1))
    tokens *= np.exp(np.random.default_rng(seed).normal(0, noise, num))
    flat = {"accuracy": 0.5, "entropy": 0.1}
    return [{"step": start_step + row, "mean_tokens": tokens[row]} | flat for row in range(num)]


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.integers(40, 400), st.floats(0.2, 0.6), st.floats(0.25, 0.6), st.floats(0.0, 0.04))
def test_the_change_point_is_found(seed, num, share, shortest, noise):
    turn = round(num * share)
    adaptation, refinement = split_phases("run", hinge_rows(seed, num, turn, shortest, noise))
    assert abs(adaptation.last_step - turn) <= max(3, round(0.06 * num))
    assert (adaptation.first_step, refinement.first_step, refinement.last_step) == (1, adaptation.last_step + 1, num)
    assert adaptation.mean_tokens_first > refinement.mean_tokens_last


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.integers(1, 60), st.floats(0.0, 0.07), st.floats(1.0, 1.4))
def test_a_length_that_never_falls_has_no_phases(seed, num, noise, growth):
    rng = np.random.default_rng(seed)
    tokens = np.linspace(80, 80 * growth, num) * np.exp(rng.normal(0, noise, num))
    assert split_phases("run", [{"step": row + 1, "mean_tokens": tokens[row]} for row in range(num)]) == []


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(0, 1000), st.sampled_from([0.25, 4.0, 128.0]))
def test_phases_depend_neither_on_the_unit_nor_on_where_counting_starts(seed, offset, factor):
    phases = split_phases("run", hinge_rows(seed, 60, 25, 0.5, 0.04))
    moved = split_phases("run", hinge_rows(seed, 60, 25, 0.5, 0.04, start_step=1 + offset, unit=80 * factor))
    assert [(p.phase, p.first_step + offset, p.last_step + offset) for p in phases] == [
        (p.phase, p.first_step, p.last_step) for p in moved
    ]
