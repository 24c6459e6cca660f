"""The rewards that follow the policy: what `observe` learns, by hand, and that it survives a checkpoint."""

import json

import pytest

from pipeline_lib.config import RewardConfig
from pipeline_lib.rewards import Outcomes, make_reward


def reward_of(name, target_tokens=40, limit_tokens=160, **parameters):
    return make_reward(RewardConfig(name=name, target_tokens=target_tokens, parameters=parameters), limit_tokens)


def same_length(length, correct_G):
    """One group of rollouts of one length."""
    return Outcomes.of([[length] * len(correct_G)], [correct_G])


# Bands of N = 8: high from 6 correct on (3 · 6 >= 16), medium from 3 (9 >= 8), low below.
HIGH = ([20, 30, 40, 45, 60, 60, 60, 90], [True] * 6 + [False] * 2)
MEDIUM = ([60, 65, 70, 70, 71, 80, 90, 100], [True] * 3 + [False] * 5)
LOW = ([10, 20, 30, 40, 50, 60, 70, 95], [True] * 2 + [False] * 6)


def test_laser_d_estimates_a_target_for_each_band():
    reward = reward_of("laser_d")
    assert reward.band_targets == {"low": 40.0, "medium": 40.0, "high": 40.0}
    reward.observe(Outcomes.of([HIGH[0], MEDIUM[0], LOW[0]], [HIGH[1], MEDIUM[1], LOW[1]]))
    # Grid 40, 50, ..., 160 (L_T, then sixteenths of L_R). A band's target is the first A with floor(coverage · n) >= 1:
    # high n = floor(16/3) = 5: 3/8 fit in 40, 0.375 · 5 = 1.9 -> 40. Medium n = 2: half must fit: 4/8 within 70 -> 70.
    # Low n = 1: all must fit: 95 -> 100.
    assert reward.band_targets == {"low": 100.0, "medium": 70.0, "high": 40.0}
    assert reward.target_tokens == 40.0


def test_laser_d_pays_the_bonus_up_to_the_target_of_the_band():
    reward = reward_of("laser_d")
    reward.observe(Outcomes.of([HIGH[0], MEDIUM[0], LOW[0]], [HIGH[1], MEDIUM[1], LOW[1]]))
    lengths_G = [40, 41, 70, 71, 100, 101, 40, 160]
    finished_G = [True] * 7 + [False]
    groups = {"high": [True] * 6 + [False] * 2, "medium": [True] * 4 + [False] * 4, "low": [True, True] + [False] * 6}
    scores = {band: reward.score(Outcomes.of([lengths_G], [groups[band]], [finished_G]))[0].tolist() for band in groups}
    # Targets 40, 70, 100; right and short 1.5, right 1, wrong -0.5, cut -1.
    assert scores["high"] == [1.5, 1.0, 1.0, 1.0, 1.0, 1.0, -0.5, -1.0]
    assert scores["medium"] == [1.5, 1.5, 1.5, 1.0, -0.5, -0.5, -0.5, -1.0]
    assert scores["low"] == [1.5, 1.5, -0.5, -0.5, -0.5, -0.5, -0.5, -1.0]


def test_laser_d_needs_whole_expected_correct_rollouts():
    # High band, n = 5: a fifth must fit. Of 10 groups of 8 rollouts (80) 15 fit in 40 (0.9 rollouts), 16 in 50 (exactly 1).
    lengths_P = [[40] * 8, [40] * 7 + [50], *[[90] * 8] * 8]
    reward = reward_of("laser_d")
    reward.observe(Outcomes.of(lengths_P, [[True] * 8] * 10))
    assert reward.band_targets["high"] == 50.0
    twice = reward_of("laser_d", expected_correct=2)
    twice.observe(Outcomes.of(lengths_P, [[True] * 8] * 10))
    assert twice.band_targets["high"] == 90.0


def test_laser_d_gives_every_rollout_of_an_unseen_band_the_bonus():
    reward = reward_of("laser_d")
    reward.observe(Outcomes.of([HIGH[0]], [HIGH[1]]))
    assert reward.band_targets == {"low": 160.0, "medium": 160.0, "high": 40.0}
    assert reward.score(Outcomes.of([[160, 160]], [[True, False]]))[0].tolist() == [1.5, -0.5]


def test_laser_d_counts_exact_thirds_to_the_higher_band():
    reward = reward_of("laser_d", lower_bound_tokens=160)
    reward.band_targets.update(low=10.0, medium=20.0, high=30.0)
    # One of three correct is medium, two are high; two of seven low, five of seven high. Right and within the target: 1.5.
    for correct_G, target in [
        ([True, False, False], 20),
        ([True, True, False], 30),
        ([True] * 2 + [False] * 5, 10),
        ([True] * 5 + [False] * 2, 30),
    ]:
        assert reward.score(same_length(target, correct_G))[0, 0] == 1.5
        assert reward.score(same_length(target + 1, correct_G))[0, 0] == 1.0


def test_laser_d_forgets_old_groups():
    reward = reward_of("laser_d", monitor_groups=2, lower_bound_tokens=20, step_tokens=20)
    for length in (30, 90, 90):
        reward.observe(same_length(length, [True] * 8))
    assert reward.band_targets["high"] == 100.0  # grid 20, 40, ..., 160
    reward.observe(Outcomes.of([[50] * 8, [130] * 8, [130] * 8], [[True] * 8] * 3))
    assert reward.band_targets["high"] == 140.0  # the last two of the batch


def test_laser_d_takes_its_band_from_all_rollouts_of_a_small_group():
    reward = reward_of("laser_d")
    reward.observe(same_length(30, [True]))  # n = floor(2/3) = 0: no length can be expected to hold a correct rollout
    assert reward.band_targets["high"] == 160.0


def test_laser_de_pays_long_wrong_answers_unless_they_loop():
    reward = reward_of("laser_de")
    assert reward.reads_text and not reward_of("laser_d").reads_text
    lengths_G = [30, 50, 40, 41, 41, 160]
    correct_G = [True, True, False, False, False, False]
    finished_G = [True] * 5 + [False]
    repetitive_G = [False] * 4 + [True, False]
    # Wrong and longer than 40: -0.5 + 0.5 = 0, but not where it loops or was cut.
    scores_G = reward.score(Outcomes.of([lengths_G], [correct_G], [finished_G], [repetitive_G]))[0].tolist()
    assert scores_G == [1.5, 1.0, -0.5, 0.0, -0.5, -1.0]


def test_short_rl_switches_length_off_while_accuracy_is_down():
    reward = reward_of("short_rl", length_tolerance_tokens=0)
    batch = Outcomes.of([[20, 40, 60, 50]], [[True, True, True, False]])
    with_length, without = [3.5, 3.0, 2.5, -0.5], [3.0, 3.0, 3.0, -0.5]
    assert reward.score(batch)[0].tolist() == with_length
    for percent, expected in [(80, with_length), (77, with_length), (74, without), (90, with_length), (84, without)]:
        # Best so far 0.8; 0.77 > 0.75; 0.74 < 0.75; best 0.9; 0.84 < 0.85.
        reward.observe(same_length(30, [True] * percent + [False] * (100 - percent)))
        assert reward.score(batch)[0].tolist() == expected
    assert reward.best_accuracy == 0.9


def test_lagrangian_weight_follows_the_mean_length():
    reward = reward_of("lagrangian")
    weights = []
    for length in (80, 20, 40, 1, 160):
        reward.observe(same_length(length, [True, False]))
        weights.append(reward.weight)
    # η = 0.002: +0.002 · 1, -0.002 · 0.5, unchanged, -0.002 · 0.975 stops at 0, +0.002 · 3.
    assert weights == pytest.approx([0.002, 0.001, 0.001, 0.0, 0.006])
    for _ in range(100):
        reward.observe(same_length(160, [True, False]))
    assert reward.weight == 0.1
    assert reward.score(same_length(80, [True, False]))[0].tolist() == pytest.approx([0.9, -0.1])


def test_adaptive_target_is_the_quantile_of_correct_lengths():
    reward = reward_of("adaptive_target")
    batch = Outcomes.of([[10, 20, 30, 40, 50], [60, 70, 80, 90, 100], [150] * 5], [[True] * 5, [True] * 5, [False] * 5])
    assert reward.score(batch)[0].tolist() == [1, 1, 1, 1, 0]
    reward.observe(batch)
    # Ten correct lengths: place 0.9 · 9 = 8.1 between the 9th, 90, and the 10th, 100: 91. A tenth is too long.
    assert reward.target_tokens == pytest.approx(91.0)
    assert reward.score(batch).tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [0] * 5]


def test_adaptive_target_keeps_the_last_one_without_a_correct_rollout():
    reward = reward_of("adaptive_target")
    reward.observe(same_length(70, [False, False]))
    assert reward.target_tokens == 40.0
    reward.observe(same_length(70, [True, False]))
    reward.observe(same_length(20, [False, False]))
    assert reward.target_tokens == 70.0


def test_adaptive_target_stays_within_its_bounds():
    bounded = reward_of("adaptive_target", quantile=0.5, min_tokens=30, max_tokens=60)
    targets = []
    for length in (100, 10, 50):
        bounded.observe(same_length(length, [True, True]))
        targets.append(bounded.target_tokens)
    assert targets == [60.0, 30.0, 50.0]


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("adaptive_target", {"target_tokens": 60.0}),
        ("lagrangian", {"weight": 0.002 * 0.5}),
        ("short_rl", {"best_accuracy": 0.5, "active": True}),
        ("laser_d", {"monitored": [[1, [60, 60]]]}),
        ("vanilla", {}),
    ],
)
def test_what_was_learned_is_plain_json(name, state):
    reward = reward_of(name)
    reward.observe(same_length(60, [True, False]))
    stored = json.loads(json.dumps(reward.state()))
    assert stored == state
    other = reward_of(name)
    other.load_state(stored)
    assert other.state() == state
