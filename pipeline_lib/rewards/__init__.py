"""The length-aware rewards by name. A new reward is one module here and one line in `REWARDS`."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from pipeline_lib.config.training import RewardConfig
from pipeline_lib.rewards.base import Outcomes, Reward
from pipeline_lib.rewards.kimi import KimiReward
from pipeline_lib.rewards.truncation import TruncationReward
from pipeline_lib.rewards.vanilla import VanillaReward

REWARDS: dict[str, type[Reward[Any]]] = {
    "kimi": KimiReward,
    "truncation": TruncationReward,
    "vanilla": VanillaReward,
}

__all__ = ["REWARDS", "Outcomes", "Reward", "make_reward", "resolve_parameters"]


def make_reward(config: RewardConfig, limit_tokens: int | None = None) -> Reward[Any]:
    """Build the reward that the configuration names; `limit_tokens` is L_R (absent: L_T), which some formulas need."""
    return REWARDS[config.name](config, limit_tokens)


def resolve_parameters(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A reward's settings in full: the given ones checked, the others at their published values.

    Raises ValueError for an unknown reward (listing the known names), an unknown setting or a value that is not allowed.
    """
    if name not in REWARDS:
        raise ValueError(f"reward.name = {name!r} is not one of {', '.join(sorted(REWARDS))}")
    model = REWARDS[name].Parameters
    try:
        return model.model_validate(dict(parameters)).model_dump(mode="json")
    except ValidationError as error:
        known = ", ".join(model.model_fields) or "none"
        problems = "; ".join(
            f"reward.parameters.{'.'.join(map(str, item['loc']))} = {item['input']!r}: {item['msg']}" for item in error.errors()
        )
        raise ValueError(f"{problems} (settings of {name!r}: {known})") from error
