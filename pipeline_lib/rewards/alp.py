"""Adaptive Length Penalty, ALP (arXiv 2506.05256): 1[c] - β · max(p, 1/N) · L / L_max, p the group's pass rate.

Tokens cost most on prompts that are solved reliably, and a little (1/N) on those never solved. The form is confirmed by
restatements of the paper only; they give β = 1e-7 but not the constant that L is divided by. Here that is L_R, and β = 0.2 is a
choice of our own: a rollout at L_R on a prompt that is always solved loses a fifth.
"""

import numpy as np
from pydantic import Field

from pipeline_lib.rewards.base import FloatArray, Outcomes, Reward, Weight
from pipeline_lib.section import PositiveInt, Section


class AlpParameters(Section):
    beta: Weight = Field(0.2, description="Cost of L_max tokens on a prompt that is always solved (our choice).")
    limit_tokens: PositiveInt | None = Field(None, description="L_max; absent: L_R.")


class AlpReward(Reward[AlpParameters]):
    """Taxes every token, of right and wrong rollouts alike, by how easy the prompt is."""

    Parameters = AlpParameters

    def score(self, outcomes: Outcomes) -> FloatArray:
        rate_P1 = np.maximum(outcomes.pass_rate_P1, 1.0 / outcomes.lengths_PN.shape[1])
        length_PN = outcomes.lengths_PN / (self.parameters.limit_tokens or self.limit_tokens)
        penalty_PN: FloatArray = self.parameters.beta * rate_P1 * length_PN
        return outcomes.correct_PN - penalty_PN
