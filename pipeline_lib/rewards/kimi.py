"""Kimi-1.5's length reward (arXiv 2501.12599) as the paper writes it (eq. 3-4).

With l = (L - L_min) / (L_max - L_min) inside the rollout group: correct 1 + α(0.5 - l), incorrect min(0, α(0.5 - l)).
Equal lengths give no length signal: l = 0.5.
"""

import numpy as np
from pydantic import Field

from pipeline_lib.rewards.base import FloatArray, Outcomes, Reward, Weight
from pipeline_lib.section import Section


class KimiParameters(Section):
    alpha: Weight = Field(0.4, description="Weight of the length term (paper: 0.4).")


class KimiReward(Reward[KimiParameters]):
    """Ranks the group by length over all its rollouts; a wrong rollout is never paid for being short."""

    Parameters = KimiParameters

    def score(self, outcomes: Outcomes) -> FloatArray:
        lengths_PN = outcomes.lengths_PN
        shortest_P1 = lengths_PN.min(axis=1, keepdims=True)
        spread_P1 = lengths_PN.max(axis=1, keepdims=True) - shortest_P1
        relative_PN = np.where(spread_P1 > 0, (lengths_PN - shortest_P1) / np.maximum(spread_P1, 1), 0.5)
        length_PN = self.parameters.alpha * (0.5 - relative_PN)
        rewards_PN: FloatArray = np.where(outcomes.correct_PN, 1.0 + length_PN, np.minimum(0.0, length_PN))
        return rewards_PN
