"""Golden values of every reward that a group alone decides, by hand. Unless said otherwise L_T = 40 and L_R = 100 tokens."""

import numpy as np
import pytest

from pipeline_lib.config import RewardConfig
from pipeline_lib.rewards import Outcomes, make_reward

# Three correct rollouts around L_T and a wrong one above it: pass rate 3/4, mean of the correct lengths 40, longest 60.
LENGTHS_G = [20, 40, 60, 50]
CORRECT_G = [True, True, True, False]


def reward_of(name, target_tokens=40, limit_tokens=100, **parameters):
    return make_reward(RewardConfig(name=name, target_tokens=target_tokens, parameters=parameters), limit_tokens)


def scores(name, lengths_G=LENGTHS_G, correct_G=CORRECT_G, finished_G=None, **settings):
    finished_PN = None if finished_G is None else [finished_G]
    return reward_of(name, **settings).score(Outcomes.of([lengths_G], [correct_G], finished_PN))[0].tolist()


def test_vanilla_pays_for_correctness_at_any_length():
    assert scores("vanilla") == [1, 1, 1, 0]


@pytest.mark.parametrize("name", ["truncation", "thinkprune", "dler"])
def test_truncation_counts_exactly_the_target_as_short(name):
    assert scores(name, [39, 40, 41, 40], CORRECT_G) == [1, 1, 0, 0]


def test_kimi():
    # l = (L - 20) / 40 = 0, 0.5, 1, 0.75. Correct 1 + 0.4 (0.5 - l); wrong min(0, 0.4 · -0.25) = -0.1.
    assert scores("kimi") == pytest.approx([1.2, 1.0, 0.8, -0.1])
    # The wrong one is the shortest: l = 0, min(0, +0.2) = 0.
    assert scores("kimi", [20, 60], [False, True]) == pytest.approx([0.0, 0.8])
    # α = 1 doubles and more: 1 ± 0.5.
    assert scores("kimi", [20, 60], [True, True], alpha=1.0) == pytest.approx([1.5, 0.5])


def test_kimi_has_no_length_signal_where_all_are_equally_long():
    assert scores("kimi", [30, 30], [True, False]) == [1.0, 0.0]
    assert scores("kimi", [30], [True]) == [1.0]


def test_laser_counts_exactly_the_target_as_long():
    # 1 + 0.4 · 1[L < 40].
    assert scores("laser", [39, 40, 41, 39], CORRECT_G) == pytest.approx([1.4, 1.0, 1.0, 0.0])
    assert scores("laser", [39, 40], [True, True], alpha=0.5) == pytest.approx([1.5, 1.0])


def test_laser_d_of_the_paper_pays_long_wrong_rollouts():
    # Wrong: 0.4 · 1[L >= 40].
    assert scores("laser_d_art", [39, 40, 39, 40, 41], [True, True, False, False, False]) == pytest.approx(
        [1.4, 1.0, 0.0, 0.4, 0.4]
    )


def test_l1_exact_costs_every_token_away_from_the_target():
    # 1 - 0.0003 · 20, 1, 1 - 0.0003 · 20, 0 - 0.0003 · 10.
    assert scores("l1_exact") == pytest.approx([0.994, 1.0, 0.994, -0.003])
    # As restated of the paper: 1000 tokens off the target cost 0.3.
    assert scores("l1_exact", [3000, 2000], [True, False], target_tokens=2000) == pytest.approx([0.7, 0.0])


def test_l1_max_falls_from_the_target_on():
    # 0.0003 · 20 + 0.5, 0.5, -0.0003 · 20 + 0.5, wrong 0.
    assert scores("l1_max") == pytest.approx([0.506, 0.5, 0.494, 0.0])
    # As restated of the paper: 500 tokens under 0.15 + 0.5, 2000 over clip(-0.6 + 0.5) = 0; 2500 under clip(1.25) = 1.
    assert scores("l1_max", [2500, 5000, 500], [True] * 3, target_tokens=3000) == pytest.approx([0.65, 0.0, 1.0])
    # α = 0.01, δ = 0.2: 0.4, 0.2, clip(-0.0) = 0.
    assert scores("l1_max", alpha=0.01, delta=0.2) == pytest.approx([0.4, 0.2, 0.0, 0.0])


def test_shorterbetter_pulls_to_the_shortest_correct_rollout():
    # L_SOL = 20: 2 - 0, 2 - 0.020, 2 - 0.040, 0 - 0.030.
    assert scores("shorterbetter") == pytest.approx([2.0, 1.98, 1.96, -0.03])
    # A wrong rollout shorter than L_SOL = 60 costs, too: -0.050 at 10 tokens.
    assert scores("shorterbetter", [10, 60], [False, True]) == pytest.approx([-0.05, 2.0])


def test_shorterbetter_pulls_to_the_mean_where_none_is_correct():
    # Mean (10 + 20 + 60) / 3 = 30: -0.020, -0.010, -0.030.
    assert scores("shorterbetter", [10, 20, 60], [False] * 3) == pytest.approx([-0.02, -0.01, -0.03])


def test_dapo_overlong_punishes_the_last_fifth_below_the_limit():
    # Buffer 20 below L_R = 100: 80 -> 0, 90 -> -0.5, 100 -> -1, 110 -> -1; outcome 1 or -1.
    assert scores("dapo_overlong", [80, 90, 100, 110], [True] * 4) == pytest.approx([1.0, 0.5, 0.0, 0.0])
    assert scores("dapo_overlong", [80, 90, 100, 110], [False] * 4) == pytest.approx([-1.0, -1.5, -2.0, -2.0])
    # TRL's example: 90 tokens of 100, buffer 20, is -0.5 by itself. Buffer 50: 90 -> -40/50.
    assert scores("dapo_overlong", [90], [False], wrong_reward=0.0) == pytest.approx([-0.5])
    assert scores("dapo_overlong", [50, 90], [True, True], buffer_tokens=50) == pytest.approx([1.0, 0.2])


def test_cosine_prefers_short_when_right_and_long_when_wrong():
    # cos(π/4) = 0.70711, cos(π/2) = 0, cos(π) = -1; beyond L_R as at L_R. TRL's example: 50 of 100 is 0.75 and -0.75.
    # At 25: 0.5 + 0.25 · 1.70711 = 0.92678; wrong -0.5 - 0.25 · 1.70711 = -0.92678.
    assert scores("cosine", [25, 50, 100, 150], [True] * 4) == pytest.approx([0.92678, 0.75, 0.5, 0.5], abs=1e-5)
    assert scores("cosine", [25, 50, 100, 150], [False] * 4) == pytest.approx([-0.92678, -0.75, -0.5, -0.5], abs=1e-5)


def test_cosine_takes_the_values_of_its_paper():
    paper = {"correct_short": 2, "correct_long": 1, "wrong_short": -10, "wrong_long": 0, "cut_reward": -10, "limit_tokens": 200}
    # At 100 of 200: 1 + 0.5 · 1 · 1 = 1.5, wrong 0 - 0.5 · 10 · 1 = -5; what was cut -10.
    assert scores("cosine", [100, 100, 100], [True, False, False], [True, True, False], **paper) == pytest.approx(
        [1.5, -5.0, -10.0]
    )


def test_arora_zanette_compares_the_correct_rollouts():
    # μ = 40, s = sqrt((400 + 0 + 400) / 3) = 16.330, z = -1.2247, 0, 1.2247; σ = 0.22710, 0.5, 0.77290.
    # 1 - 0.4 σ = 0.90916, 0.8, 0.69084; the wrong one, 50 tokens long, is no part of the statistics.
    assert scores("arora_zanette") == pytest.approx([0.90916, 0.8, 0.69084, 0.0], abs=1e-5)
    # A single correct rollout, or equally long ones: z = 0. What did not end by itself earns nothing.
    assert scores("arora_zanette", [20, 90, 5], [True, False, False], alpha=0.1) == pytest.approx([0.95, 0.0, 0.0])
    assert scores("arora_zanette", [20, 20], [True, True], [True, False]) == pytest.approx([0.8, 0.0])


def test_short_rl_leaves_a_band_above_the_shortest_correct_rollout_free():
    # L_min = 1000, L_max = 2000: 1000 and 1100 are free (0.5); 1400: 0.5 - 0.4 = 0.1; 2000: 0.5 - 1 = -0.5. Wrong -0.5, cut -3.
    lengths, correct = [1000, 1100, 1400, 2000, 500, 9000], [True] * 4 + [False] * 2
    finished = [True] * 5 + [False]
    assert scores("short_rl", lengths, correct, finished, limit_tokens=9000) == pytest.approx([3.5, 3.5, 3.1, 2.5, -0.5, -3.0])
    # One token more than the free band counts from the shortest: 0.5 - 101 / 1000.
    assert scores("short_rl", [1000, 1101, 2000], [True] * 3)[1] == pytest.approx(3.399)
    # On the scale of 1[c], without a band: 1 + 0.5, 1 + 0, 1 - 0.5, 0.
    plain = {"correct_reward": 1, "wrong_reward": 0, "cut_reward": 0, "length_tolerance_tokens": 0}
    assert scores("short_rl", **plain) == pytest.approx([1.5, 1.0, 0.5, 0.0])


def test_grpo_lead_shapes_correct_rollouts_and_punishes_wrong_ones():
    # s = sqrt((400 + 0 + 400) / 2) = 20, z = -1, 0, 1: e^0.05 = 1.05127, 1, e^-0.05 = 0.95123; wrong -1.
    assert scores("grpo_lead") == pytest.approx([1.05127, 1.0, 0.95123, -1.0], abs=1e-5)
    assert scores("grpo_lead", [20, 90], [True, False]) == [1.0, -1.0]
    # α = 0.5: e^0.5 = 1.64872, e^-0.5 = 0.60653.
    assert scores("grpo_lead", alpha=0.5) == pytest.approx([1.64872, 1.0, 0.60653, -1.0], abs=1e-5)


def test_grpo_lead_weighs_advantages_by_difficulty():
    # Pass rate 3/4: w(0.75) = 0.4 + 1.1 / 2 = 0.95; w(0.25) = 0.4 + 1.1 / (1 + e^-5) = 0.4 + 1.1 · 0.99331 = 1.49264.
    # Pass rate 1/4: the other way round.
    outcomes = Outcomes.of([LENGTHS_G, LENGTHS_G], [CORRECT_G, [True, False, False, False]])
    advantages_PN = np.array([[1.0, 0.5, 0.0, -1.5], [1.5, -0.5, -0.5, -0.5]])
    weighed_PN = reward_of("grpo_lead").weigh(advantages_PN, outcomes)
    assert weighed_PN[0].tolist() == pytest.approx([0.95, 0.475, 0.0, -2.23896], abs=1e-5)
    assert weighed_PN[1].tolist() == pytest.approx([2.23896, -0.475, -0.475, -0.475], abs=1e-5)


def test_the_other_rewards_leave_advantages_as_they_are():
    advantages_PN = np.array([[1.0, 0.5, 0.0, -1.5]])
    assert reward_of("kimi").weigh(advantages_PN, Outcomes.of([LENGTHS_G], [CORRECT_G])) is advantages_PN


def test_alp_taxes_tokens_by_the_pass_rate():
    # p = 3/4, L_R = 100: 1 - 0.2 · 0.75 · 0.2 = 0.97, 0.94, 0.91; wrong -0.2 · 0.75 · 0.5 = -0.075.
    assert scores("alp") == pytest.approx([0.97, 0.94, 0.91, -0.075])
    # None correct of 4: 1/4 instead of 0: -0.2 · 0.25 · 0.5 = -0.025 at 50 tokens.
    assert scores("alp", correct_G=[False] * 4)[3] == pytest.approx(-0.025)
    assert scores("alp", [50], [True], beta=1.0, limit_tokens=50) == pytest.approx([0.0])


def test_prime_linear_taxes_tokens_against_the_longest_rollout():
    # 0.25 · 0.75 = 0.1875; times 20/60, 40/60, 60/60, 50/60: 0.0625, 0.125, 0.1875, 0.15625.
    assert scores("prime_linear") == pytest.approx([0.9375, 0.875, 0.8125, -0.15625])
    assert scores("prime_linear", correct_G=[False] * 4) == [0.0] * 4


def test_lagrangian_costs_what_exceeds_the_target():
    # λ = 0.1: 60 tokens are 0.5 over: 1 - 0.05; wrong at 50: -0.1 · 0.25.
    assert scores("lagrangian", initial_weight=0.1) == pytest.approx([1.0, 1.0, 0.95, -0.025])
    # Cut at L_R costs 0.1 more, and length at most 0.4: 400 tokens are 9 over, 0.9.
    assert scores("lagrangian", [400, 60], [True, False], [True, False], initial_weight=0.1) == pytest.approx([0.6, -0.15])
    # Nothing is learned yet: λ = 0.
    assert scores("lagrangian") == [1.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("kimi", {"alpha": 0.4}),
        ("laser", {"alpha": 0.4}),
        ("l1_exact", {"alpha": 0.0003}),
        ("l1_max", {"alpha": 0.0003, "delta": 0.5}),
        ("shorterbetter", {"alpha": 2.0, "beta": 0.001}),
        ("short_rl", {"accuracy_tolerance": 0.05, "length_tolerance_tokens": 100}),
        ("grpo_lead", {"easy_weight": 0.4, "hard_weight": 1.5, "midpoint": 0.75, "steepness": 10.0}),
        ("laser_d", {"bonus": 0.5, "wrong_reward": -0.5, "cut_reward": -1.0, "monitor_groups": 500, "expected_correct": 1}),
        ("prime_linear", {"weight": 0.25}),
        ("lagrangian", {"step_size": 0.002, "initial_weight": 0.0, "max_weight": 0.1, "penalty_cap": 0.4, "cut_penalty": 0.1}),
        ("adaptive_target", {"quantile": 0.9}),
    ],
)
def test_settings_default_to_the_published_values(name, published):
    settings = RewardConfig(name=name).parameters
    assert {key: settings[key] for key in published} == published
