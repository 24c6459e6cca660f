"""The preview pushes what training pushes: the same groups, scored by both."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline_lib.config import RunConfig, load_config
from pipeline_lib.generation.sampling import Sample
from pipeline_lib.preview import Previewer, outcomes_of
from pipeline_lib.preview.first_step import Signal
from pipeline_lib.preview.settings import STRATEGIES, configured_setting
from pipeline_lib.records import Completion, Grade, Prompt
from pipeline_lib.rewards import REWARDS, make_reward
from pipeline_lib.training.groups import RolloutGroups

TARGET, LIMIT, NUM_PROMPTS, NUM_ROLLOUTS = 10, 16, 30, 4
GENERATOR = np.random.default_rng(5)
LENGTHS = GENERATOR.integers(2, 24, (NUM_PROMPTS, NUM_ROLLOUTS))
CORRECT = GENERATOR.random((NUM_PROMPTS, NUM_ROLLOUTS)) < 0.6


def config_of(configs: Path, **train: Any) -> RunConfig:
    config = load_config(
        configs / "experiments" / "base.toml", [f"reward.target_tokens={TARGET}", f"train.rollout_limit_tokens={LIMIT}"]
    )
    settings = {"num_rollouts": NUM_ROLLOUTS, **train}
    return config.model_copy(update={"train": config.train.model_copy(update=settings)})


def trained_groups(config: RunConfig, reward: str) -> RolloutGroups:
    """What the training loop makes of the same rollouts, sampled at most L_R tokens."""
    samples = []
    for group, (lengths, judged) in enumerate(zip(LENGTHS.tolist(), CORRECT.tolist(), strict=True)):
        for index, (length, right) in enumerate(zip(lengths, judged, strict=True)):
            seen = min(length, LIMIT)
            completion = Completion([5] * seen, [-0.1] * seen, "", "stop" if length <= LIMIT else "length")
            grade = Grade("0", right and length <= LIMIT, "")
            samples.append(Sample(Prompt(f"p{group}", "s", "d", "", "0"), [1], index, completion, grade))
    groups = RolloutGroups(samples, config.train)
    rewarder = make_reward(config.reward.model_copy(update={"name": reward, "parameters": {}}), LIMIT)
    rewarder.observe(groups.outcomes())
    groups.assign_rewards(rewarder)
    return groups


def previewed(config: RunConfig, reward: str) -> Signal:
    rows = [
        {"lengths": lengths, "correct": correct, "finished": [True] * NUM_ROLLOUTS}
        for lengths, correct in zip(LENGTHS.tolist(), CORRECT.tolist(), strict=True)
    ]
    outcomes = outcomes_of(rows, "made up", 24)
    previewer = Previewer(outcomes, config)
    setting = configured_setting(config, outcomes)
    setting = replace(setting, reward=setting.reward.model_copy(update={"name": reward, "parameters": {}}))
    return Signal.of(setting, previewer.groups("all", NUM_ROLLOUTS).cut(LIMIT, previewer.edges), config.train)


def assert_same(config: RunConfig, reward: str) -> None:
    groups, signal = trained_groups(config, reward), previewed(config, reward)
    assert signal.rewards_GN.tolist() == groups.rewards_PN.tolist()
    assert signal.kept_GN.tolist() == groups.kept_PN.tolist()
    np.testing.assert_allclose(signal.push_GN, (groups.advantages_PN * groups.kept_PN).numpy(), atol=1e-12)


@pytest.mark.parametrize("advantage", ["grpo", "mean", "rloo", "batch_whitened"])
@pytest.mark.parametrize("strategy", [strategy for strategy in STRATEGIES if strategy != "L_R=L_T"])
def test_masks_and_advantages_are_those_of_training(configs: Path, strategy: str, advantage: str) -> None:
    assert_same(config_of(configs, negative_rollouts=strategy, advantage=advantage), "truncation")
    assert_same(config_of(configs, negative_rollouts=strategy, advantage=advantage, masked_in_baseline=False), "kimi")


# Parameters are left at their defaults; rewards that read texts see none here.
@pytest.mark.parametrize("reward", [name for name, kind in REWARDS.items() if not kind.reads_text])
def test_every_reward_is_scored_as_in_training(configs: Path, reward: str) -> None:
    assert_same(config_of(configs, overlong_filtering=True), reward)


def test_sequence_mean_pushes_a_token_sum_over_its_length(configs: Path) -> None:
    plain = previewed(config_of(configs), "truncation").push_GN
    averaged = previewed(config_of(configs, loss_aggregation="sequence_mean"), "truncation").push_GN
    seen = np.minimum(LENGTHS, LIMIT)
    np.testing.assert_allclose(averaged, plain * seen.mean() / seen)
