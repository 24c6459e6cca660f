"""Truncation at a target that follows the policy (the paper's appendix on adaptive L_T): L_T = 90 % quantile of correct lengths.

About a tenth of the correct rollouts is then always too long: a steady pressure, better at a budget of 4k tokens, equal or worse
at 32k, with spikes of the KL (finding F7). The quantile is that of the batch which is scored; a batch without a correct rollout
keeps the last target; `reward.target_tokens` is the target until there is one. As in the paper nothing else bounds the target
(correct lengths cannot exceed L_R); `min_tokens` and `max_tokens` do on request. The paper does not say over which rollouts it
takes the quantile, nor how it interpolates (here linearly).
"""

from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from pipeline_lib.rewards.base import Outcomes
from pipeline_lib.rewards.truncation import ShortAndCorrectReward
from pipeline_lib.section import PositiveInt, Section


class AdaptiveTargetParameters(Section):
    quantile: Annotated[float, Field(gt=0.0, le=1.0)] = Field(0.9, description="Quantile of the correct lengths (paper: 0.9).")
    min_tokens: PositiveInt = Field(1, description="The target is never below this.")
    max_tokens: PositiveInt | None = Field(None, description="The target is never above this; absent: L_R.")

    @model_validator(mode="after")
    def _ordered(self) -> "AdaptiveTargetParameters":
        if self.max_tokens is not None and self.max_tokens < self.min_tokens:
            raise ValueError(f"max_tokens = {self.max_tokens} is below min_tokens = {self.min_tokens}")
        return self


class AdaptiveTargetReward(ShortAndCorrectReward[AdaptiveTargetParameters]):
    """Pays what is right and not among the longest tenth."""

    Parameters = AdaptiveTargetParameters

    def observe(self, outcomes: Outcomes) -> None:
        correct_lengths = outcomes.lengths_PN[outcomes.correct_PN]
        if correct_lengths.size:
            quantile = float(np.quantile(correct_lengths, self.parameters.quantile))
            largest = self.parameters.max_tokens or np.inf
            self.target_tokens = float(np.clip(quantile, self.parameters.min_tokens, largest))

    def state(self) -> dict[str, Any]:
        return {"target_tokens": self.target_tokens}

    def load_state(self, state: dict[str, Any]) -> None:
        self.target_tokens = float(state["target_tokens"])
