"""The length-aware rewards by name. A new reward is one module here and one line in `REWARDS` (docs/rewards.md)."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError, model_validator

from pipeline_lib.rewards.adaptive_target import AdaptiveTargetReward
from pipeline_lib.rewards.alp import AlpReward
from pipeline_lib.rewards.arora_zanette import AroraZanetteReward
from pipeline_lib.rewards.base import Outcomes, Reward
from pipeline_lib.rewards.cosine import CosineReward
from pipeline_lib.rewards.dapo_overlong import DapoOverlongReward
from pipeline_lib.rewards.dler import DlerReward
from pipeline_lib.rewards.grpo_lead import GrpoLeadReward
from pipeline_lib.rewards.kimi import KimiReward
from pipeline_lib.rewards.l1_exact import L1ExactReward
from pipeline_lib.rewards.l1_max import L1MaxReward
from pipeline_lib.rewards.lagrangian import LagrangianReward
from pipeline_lib.rewards.laser import LaserReward
from pipeline_lib.rewards.laser_d import LaserDReward
from pipeline_lib.rewards.laser_d_art import LaserDArtReward
from pipeline_lib.rewards.laser_de import LaserDEReward
from pipeline_lib.rewards.prime_linear import PrimeLinearReward
from pipeline_lib.rewards.short_rl import ShortRLReward
from pipeline_lib.rewards.shorterbetter import ShorterBetterReward
from pipeline_lib.rewards.thinkprune import ThinkPruneReward
from pipeline_lib.rewards.truncation import TruncationReward
from pipeline_lib.rewards.vanilla import VanillaReward
from pipeline_lib.section import PositiveInt, Section

REWARDS: dict[str, type[Reward[Any]]] = {
    "adaptive_target": AdaptiveTargetReward,
    "alp": AlpReward,
    "arora_zanette": AroraZanetteReward,
    "cosine": CosineReward,
    "dapo_overlong": DapoOverlongReward,
    "dler": DlerReward,
    "grpo_lead": GrpoLeadReward,
    "kimi": KimiReward,
    "l1_exact": L1ExactReward,
    "l1_max": L1MaxReward,
    "lagrangian": LagrangianReward,
    "laser": LaserReward,
    "laser_d": LaserDReward,
    "laser_d_art": LaserDArtReward,
    "laser_de": LaserDEReward,
    "prime_linear": PrimeLinearReward,
    "short_rl": ShortRLReward,
    "shorterbetter": ShorterBetterReward,
    "thinkprune": ThinkPruneReward,
    "truncation": TruncationReward,
    "vanilla": VanillaReward,
}


class RewardConfig(Section):
    """The length-aware reward, by its name in `pipeline_lib.rewards.REWARDS`."""

    name: str = Field("truncation", description="Name in pipeline_lib.rewards.REWARDS.")
    target_tokens: PositiveInt = Field(4096, description="L_T: the length that counts as short (L <= L_T).")
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="The reward's own settings, such as alpha; what is absent takes its published value."
    )

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, tree: Any) -> Any:
        """Store the reward's settings in full: a default that changes later must not change what a stored run means."""
        if not isinstance(tree, dict) or not isinstance(tree.get("parameters", {}), dict):
            return tree
        name = tree.get("name", cls.model_fields["name"].default)
        return {**tree, "parameters": resolve_parameters(str(name), tree.get("parameters", {}))}


def make_reward(config: RewardConfig, limit_tokens: int | None = None) -> Reward[Any]:
    """Build the reward that the configuration names; `limit_tokens` is L_R (absent: L_T), which some formulas need.

    Raises ValueError for a setting that does not go with L_R.
    """
    reward = REWARDS[config.name]
    parameters = reward.Parameters.model_validate(config.parameters)
    return reward(parameters, config.target_tokens, limit_tokens or config.target_tokens)


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
            f"{'.'.join(('reward.parameters', *map(str, item['loc'])))} = {item['input']!r}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors()
        )
        raise ValueError(f"{problems} (settings of {name!r}: {known})") from error
