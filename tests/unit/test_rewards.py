"""The rewards: golden values by hand, the boundary at L_T, and the registry."""

import re
import subprocess
import sys

import pytest

from pipeline_lib.config import RewardConfig
from pipeline_lib.rewards import REWARDS, make_reward

LENGTHS_G = [39, 40, 41, 40]
CORRECT_G = [True, True, True, False]


def test_vanilla_pays_for_correctness_at_any_length():
    assert make_reward(RewardConfig(name="vanilla", target_tokens=40))(LENGTHS_G, CORRECT_G) == [1.0, 1.0, 1.0, 0.0]


def test_truncation_counts_exactly_the_target_as_short():
    assert make_reward(RewardConfig(name="truncation", target_tokens=40))(LENGTHS_G, CORRECT_G) == [1.0, 1.0, 0.0, 0.0]


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=re.escape("reward.name = 'kimmi' is not one of truncation, vanilla")):
        make_reward(RewardConfig(name="kimmi"))


def test_lengths_and_judgements_must_pair_up():
    with pytest.raises(ValueError, match="2 lengths but 1 judgements"):
        make_reward(RewardConfig(name="vanilla"))([1, 2], [True])


@pytest.mark.parametrize("name", sorted(REWARDS))
def test_every_reward_gives_one_plain_float_a_rollout(name):
    rewards_G = make_reward(RewardConfig(name=name))(LENGTHS_G, CORRECT_G)
    assert [type(reward) for reward in rewards_G] == [float] * len(LENGTHS_G)


def test_light_rooms_import_no_heavy_library():
    rooms = "rewards, grading, difficulty, budget_sweep, prompts, config, records"
    heavy = "torch vllm deepspeed duckdb mlflow transformers datasets math_verify prefect"
    program = f"import sys\nfrom pipeline_lib import {rooms}\nprint([m for m in '{heavy}'.split() if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
