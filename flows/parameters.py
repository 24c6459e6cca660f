"""The typed parameters of flows: Prefect's UI makes a form of them, its server refuses values that do not fit."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline_lib.config import NegativeStrategy
from pipeline_lib.config.shipped import config_choices
from pipeline_lib.experiments.specification import experiment_names
from pipeline_lib.rewards import REWARDS


def _one_of(choices: list[str]) -> Any:
    return Field(json_schema_extra={"enum": list(choices)} if choices else {})


# A form offers these, and a deployment refuses others; the command line takes any path.
ConfigFile = Annotated[str, _one_of(config_choices())]
RetrainConfigFile = Annotated[str, _one_of(config_choices(with_section="retrain"))]
ExperimentName = Annotated[str, _one_of(experiment_names())]
RewardName = Annotated[str, _one_of(sorted(REWARDS))]
Count = Annotated[int, Field(ge=1)]

# Where each field of Changes goes in a configuration.
KEYS = {
    "reward": "reward.name",
    "target_tokens": "reward.target_tokens",
    "rollout_limit_tokens": "train.rollout_limit_tokens",
    "negative_rollouts": "train.negative_rollouts",
    "subset": "filter.subset",
    "steps": "train.steps",
    "prompts_per_step": "train.prompts_per_step",
    "num_rollouts": "train.num_rollouts",
    "staleness": "train.staleness",
    "learning_rate": "train.learning_rate",
    "control": "control.enabled",
    "seed": "seed",
}


class Changes(BaseModel):
    """What is most often changed in a configuration; what is left empty stays as the configuration has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reward: RewardName | None = Field(None, description="Length reward (docs/rewards.md)")
    target_tokens: Count | None = Field(None, description="L_T: target length in tokens")
    rollout_limit_tokens: Count | None = Field(None, description="L_R: most tokens of a rollout in training")
    negative_rollouts: NegativeStrategy | None = Field(
        None, description="What is done with wrong and overlong rollouts (Table 1)"
    )
    subset: Literal["easy", "hard", "all"] | None = Field(
        None, description="Prompts trained on, by the pass rate of the profile"
    )
    steps: Count | None = Field(None, description="Training steps (batches of rollouts)")
    prompts_per_step: Count | None = Field(None, description="Prompts per step")
    num_rollouts: Annotated[int, Field(ge=2, le=1024)] | None = Field(None, description="N: rollouts per prompt")
    staleness: Annotated[int, Field(ge=1, le=64)] | None = Field(None, description="S: optimiser steps per batch of rollouts")
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = Field(None, description="Peak learning rate")
    control: bool | None = Field(None, description="Train the correctness-only control as well")
    seed: Annotated[int, Field(ge=0)] | None = Field(None, description="Seed of all draws")

    def as_overrides(self) -> list[str]:
        """As `section.key=value`, like --set of the command line."""
        given = self.model_dump(exclude_none=True)
        return [f"{KEYS[name]}={json.dumps(value)}" for name, value in given.items()]


NO_CHANGES = Changes()


def overrides_of(changes: Changes | dict[str, Any], overrides: list[str] | None) -> list[str]:
    """Both kinds of changes as one list; the free ones stand last and win."""
    return [*Changes.model_validate(changes).as_overrides(), *(overrides or [])]
