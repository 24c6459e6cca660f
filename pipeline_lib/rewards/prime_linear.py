"""prime-rl's linear length penalty (PrimeIntellect-ai/prime-rl configs/algorithm.py, LinearLengthPenaltyConfig; PR 2901).

1[c] - w · p · L / L_longest, p the group's mean reward (pass rate), L_longest its longest rollout, w = 0.25. Its two other terms
(input tokens and turns of an agent, 0.1 each) are nil for one response per prompt. Not gated by success: short wrong rollouts of a
prompt that is often solved lose least, which may teach to fail fast (prime-rl PR 3376).
"""

import numpy as np
from pydantic import Field

from pipeline_lib.rewards.base import FloatArray, Outcomes, Reward, Weight
from pipeline_lib.section import Section


class PrimeLinearParameters(Section):
    weight: Weight = Field(0.25, description="Cost of the longest rollout on a prompt that is always solved.")


class PrimeLinearReward(Reward[PrimeLinearParameters]):
    """Taxes length relative to the group's longest rollout, by how easy the prompt is; nothing where none is right."""

    Parameters = PrimeLinearParameters

    def score(self, outcomes: Outcomes) -> FloatArray:
        longest_P1 = np.maximum(outcomes.lengths_PN.max(axis=1, keepdims=True), 1)
        penalty_PN: FloatArray = self.parameters.weight * outcomes.pass_rate_P1 * outcomes.lengths_PN / longest_P1
        return outcomes.correct_PN - penalty_PN
