"""The registry of rewards: names, settings that are refused, the plain interface, and speed."""

import re
import subprocess
import sys
import time

import numpy as np
import pytest

from pipeline_lib.config import RewardConfig
from pipeline_lib.rewards import REWARDS, Outcomes, make_reward, resolve_parameters

LENGTHS_G = [39, 40, 41, 40]
CORRECT_G = [True, True, True, False]

# A value that each setting refuses, by reward.
REFUSED = {
    "adaptive_target": [("quantile", 0.0), ("quantile", 1.1), ("min_tokens", 0), ("max_tokens", -5)],
    "alp": [("beta", 0.0), ("beta", float("inf")), ("limit_tokens", 0)],
    "arora_zanette": [("alpha", -0.1), ("alpha", 1.5)],
    "cosine": [("wrong_long", float("nan")), ("correct_long", 2000), ("cut_reward", float("-inf")), ("limit_tokens", 0)],
    "dapo_overlong": [("wrong_reward", 0.5), ("buffer_tokens", 0)],
    "grpo_lead": [("alpha", 0.0), ("wrong_reward", 1.0), ("midpoint", 2.0), ("steepness", -1.0), ("easy_weight", -0.4)],
    "kimi": [("alpha", 0.0), ("alpha", float("inf")), ("alpha", float("nan")), ("alpha", "much")],
    "l1_exact": [("alpha", -0.0003)],
    "l1_max": [("alpha", 0), ("delta", 1.5)],
    "lagrangian": [("step_size", 0), ("initial_weight", -1), ("max_weight", 0), ("penalty_cap", 0), ("cut_penalty", -0.1)],
    "laser": [("alpha", 0)],
    "laser_d": [("bonus", 0), ("wrong_reward", 0.5), ("cut_reward", 1), ("monitor_groups", 0), ("expected_correct", 0)],
    "laser_d_art": [("alpha", -1)],
    "laser_de": [("bonus", -1), ("lower_bound_tokens", 0), ("step_tokens", 0)],
    "prime_linear": [("weight", 0)],
    "short_rl": [("correct_reward", 0), ("accuracy_tolerance", 2), ("length_tolerance_tokens", -1), ("cut_reward", 3)],
    "shorterbetter": [("alpha", 0), ("beta", -0.001)],
}
REFUSED_TOGETHER = {
    "adaptive_target": ({"min_tokens": 50, "max_tokens": 40}, "max_tokens = 40 is below min_tokens = 50"),
    "cosine": ({"correct_short": 0.2}, "correct_short = 0.2 is below correct_long = 0.5"),
    "grpo_lead": ({"hard_weight": 0.3}, "hard_weight = 0.3 is below easy_weight = 0.4"),
    "lagrangian": ({"initial_weight": 0.2}, "initial_weight = 0.2 is above max_weight = 0.1"),
}


def test_every_known_reward_is_there():
    names = (
        "vanilla truncation kimi laser laser_d_art laser_d laser_de l1_exact l1_max thinkprune shorterbetter dler dapo_overlong "
        "cosine arora_zanette short_rl grpo_lead alp prime_linear lagrangian adaptive_target"
    )
    assert sorted(names.split()) == list(REWARDS)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=re.escape("reward.name = 'kimmi' is not one of adaptive_target, alp, arora_zanette")):
        make_reward(RewardConfig(name="kimmi"))


@pytest.mark.parametrize("name", sorted(REWARDS))
def test_an_unknown_setting_is_refused_with_the_known_ones(name):
    known = ", ".join(REWARDS[name].Parameters.model_fields) or "none"
    with pytest.raises(
        ValueError,
        match=re.escape(f"reward.parameters.alhpa = 1: Extra inputs are not permitted (settings of '{name}': {known})"),
    ):
        resolve_parameters(name, {"alhpa": 1})


def test_every_reward_with_settings_has_refused_values():
    assert set(REFUSED) == {name for name, reward in REWARDS.items() if reward.Parameters.model_fields}


@pytest.mark.parametrize(("name", "key", "value"), [(name, *case) for name, cases in REFUSED.items() for case in cases])
def test_a_value_out_of_range_is_refused_by_key_and_value(name, key, value):
    with pytest.raises(ValueError, match=re.escape(f"reward.parameters.{key} = {value!r}: Input should be")):
        resolve_parameters(name, {key: value})


@pytest.mark.parametrize("name", sorted(REFUSED_TOGETHER))
def test_settings_that_contradict_each_other_are_refused(name):
    parameters, message = REFUSED_TOGETHER[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        resolve_parameters(name, parameters)


@pytest.mark.parametrize(
    ("name", "key"), [("dapo_overlong", "buffer_tokens"), ("laser_d", "lower_bound_tokens"), ("laser_de", "step_tokens")]
)
def test_a_length_above_the_rollout_limit_is_refused(name, key):
    config = RewardConfig(name=name, target_tokens=40, parameters={key: 101})
    with pytest.raises(ValueError, match=re.escape(f"reward.parameters.{key} = 101: at most L_R = 100 tokens")):
        make_reward(config, 100)
    assert make_reward(config, 101).limit_tokens == 101


def test_a_stored_configuration_holds_every_setting():
    assert RewardConfig(name="l1_max", parameters={"delta": 0.25}).parameters == {"alpha": 0.0003, "delta": 0.25}
    stored = RewardConfig(name="cosine").model_dump(mode="json")
    assert stored["parameters"]["cut_reward"] is None
    assert RewardConfig.model_validate(stored) == RewardConfig(name="cosine")


def test_lengths_and_judgements_must_pair_up():
    with pytest.raises(ValueError, match="2 lengths but 1 judgements"):
        make_reward(RewardConfig(name="vanilla"))([1, 2], [True])
    with pytest.raises(
        ValueError, match=re.escape("lengths of shape (1, 2) and judgements of shape (1, 1): both must be (P, N)")
    ):
        Outcomes.of([[1, 2]], [[True]])


@pytest.mark.parametrize("name", sorted(REWARDS))
def test_every_reward_gives_one_plain_float_a_rollout(name):
    rewards_G = make_reward(RewardConfig(name=name))(LENGTHS_G, CORRECT_G)
    assert [type(reward) for reward in rewards_G] == [float] * len(LENGTHS_G)


@pytest.mark.parametrize("name", sorted(REWARDS))
def test_forty_thousand_prompts_are_scored_in_thirty_milliseconds(name):
    """The preview scores a whole profile once a setting, 100 settings in 5 seconds."""
    rng = np.random.default_rng(0)
    lengths_PN = rng.integers(1, 16384, (40_000, 8))
    outcomes = Outcomes.of(lengths_PN, (rng.random((40_000, 8)) < 0.5) & (lengths_PN < 16000), lengths_PN < 16000)
    reward = make_reward(RewardConfig(name=name), 16384)
    reward.observe(outcomes)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        reward.score(outcomes)
        seconds.append(time.process_time() - start)
    assert min(seconds) <= 0.030


def test_light_rooms_import_no_heavy_library():
    rooms = "rewards, grading, selection.difficulty, evaluation.budget_sweep, prompts, config, records"
    heavy = "torch vllm deepspeed duckdb mlflow transformers datasets math_verify prefect"
    imports = ", ".join(f"pipeline_lib.{room}" for room in rooms.split(", "))
    program = f"import sys\nimport {imports}\nprint([m for m in '{heavy}'.split() if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
