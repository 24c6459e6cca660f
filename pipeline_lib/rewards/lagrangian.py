"""A length penalty whose weight is a Lagrange multiplier (LACONIC, arXiv 2602.14468; LEASH, arXiv 2512.21540).

1[c] - min(λ · max(0, (L - L_T) / L_T), cap) - h · 1[cut at L_R]; λ <- clip(λ + η · (mean(L) / L_T - 1), 0, λ_max) after every batch: it
rises while the mean length is above L_T and falls, to 0, while it is below. η (`step_size`) is the change of λ when the mean
length is twice L_T. Defaults are those of LACONIC's released runs: λ starts at 0, η = 0.002, λ_max = 0.1, cap = 0.4, h = 0.1 (its
code, published as LACONIC-LLM and Length-Aware-LLM, also floors λ at 1e-5 in some runs). LEASH has the same penalty and update,
and clips the reward to [-1, 1], which these defaults never leave; its values could not be confirmed. One difference: λ is updated
before the batch is scored, not after. A-DLP (arXiv 2505.18298), which moves λ by accuracy, is not covered.
"""

from typing import Any

import numpy as np
from pydantic import Field, model_validator

from pipeline_lib.rewards.base import Cost, FloatArray, Outcomes, Reward, Weight
from pipeline_lib.section import Section


class LagrangianParameters(Section):
    step_size: Weight = Field(0.002, description="η: change of λ per batch, for each L_T that the mean length is off L_T.")
    initial_weight: Cost = Field(0.0, description="λ before the first batch.")
    max_weight: Weight = Field(0.1, description="λ is never above this.")
    penalty_cap: Weight = Field(0.4, description="Most that length can cost.")
    cut_penalty: Cost = Field(0.1, description="Cost of being cut at L_R, beside the rest.")

    @model_validator(mode="after")
    def _within_bounds(self) -> "LagrangianParameters":
        if self.initial_weight > self.max_weight:
            raise ValueError(f"initial_weight = {self.initial_weight} is above max_weight = {self.max_weight}")
        return self


class LagrangianReward(Reward[LagrangianParameters]):
    """Costs what exceeds L_T, right or wrong, just as much as it takes to bring the mean length to L_T."""

    Parameters = LagrangianParameters

    def __init__(self, parameters: LagrangianParameters, target_tokens: int, limit_tokens: int) -> None:
        super().__init__(parameters, target_tokens, limit_tokens)
        self.weight = self.parameters.initial_weight

    def observe(self, outcomes: Outcomes) -> None:
        excess = float(outcomes.lengths_PN.mean()) / self.target_tokens - 1.0
        self.weight = float(np.clip(self.weight + self.parameters.step_size * excess, 0.0, self.parameters.max_weight))

    def score(self, outcomes: Outcomes) -> FloatArray:
        excess_PN = np.maximum(outcomes.lengths_PN / self.target_tokens - 1.0, 0.0)
        penalty_PN: FloatArray = np.minimum(self.weight * excess_PN, self.parameters.penalty_cap)
        return outcomes.correct_PN - penalty_PN - self.parameters.cut_penalty * ~outcomes.finished_PN

    def state(self) -> dict[str, Any]:
        return {"weight": self.weight}

    def load_state(self, state: dict[str, Any]) -> None:
        self.weight = float(state["weight"])
