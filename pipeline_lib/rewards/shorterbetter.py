"""ShorterBetter (arXiv 2504.21370; JingyangYi/ShorterBetter reward_manager/naive.py): α · 1[c] - β · |L - L_SOL|, α = 2, β = 0.001.

L_SOL, the sample optimal length, is that of the group's shortest correct rollout; without one, the group's mean length. So a wrong
rollout shorter than the shortest correct one is told to grow.
"""

import numpy as np
from pydantic import Field

from pipeline_lib.rewards.base import FloatArray, Outcomes, Reward, Weight
from pipeline_lib.section import Section


class ShorterBetterParameters(Section):
    alpha: Weight = Field(2.0, description="Reward of being right.")
    beta: Weight = Field(0.001, description="Cost of a token of distance from the sample optimal length.")


class ShorterBetterReward(Reward[ShorterBetterParameters]):
    """Pulls every rollout of a group to the length of its shortest correct one."""

    Parameters = ShorterBetterParameters

    def score(self, outcomes: Outcomes) -> FloatArray:
        lengths_PN, correct_PN = outcomes.lengths_PN, outcomes.correct_PN
        shortest_P1 = np.where(correct_PN, lengths_PN, np.inf).min(axis=1, keepdims=True)
        optimal_P1 = np.where(np.isfinite(shortest_P1), shortest_P1, lengths_PN.mean(axis=1, keepdims=True))
        distance_PN: FloatArray = np.abs(lengths_PN - optimal_P1)
        return self.parameters.alpha * correct_PN - self.parameters.beta * distance_PN
