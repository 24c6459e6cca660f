"""The length-aware rewards by name. A new reward is one module here and one line in `REWARDS`."""

from pipeline_lib.config import RewardConfig
from pipeline_lib.rewards.base import Reward
from pipeline_lib.rewards.truncation import TruncationReward
from pipeline_lib.rewards.vanilla import VanillaReward

REWARDS: dict[str, type[Reward]] = {
    "vanilla": VanillaReward,
    "truncation": TruncationReward,
}

__all__ = ["REWARDS", "Reward", "make_reward"]


def make_reward(config: RewardConfig) -> Reward:
    """Build the reward that the configuration names. Raises ValueError listing the known names."""
    if config.name not in REWARDS:
        raise ValueError(f"reward.name = {config.name!r} is not one of {', '.join(sorted(REWARDS))}")
    return REWARDS[config.name](config)
