"""L1-Max, LCPO-Max (arXiv 2503.04697 eq. 2): 1[c] · clip(α · (n_gold - L) + δ, 0, 1), α = 0.0003, δ = 0.5.

n_gold is L_T, one for all prompts (see `l1_exact`). The equation and δ are confirmed by restatements of the paper only. The
released code (cmu-l3/l1 math_reward.py) adds clip(α(n - L), -1, 1) to the correctness instead, and its script sets no flag that
switches it on.
"""

import numpy as np
from pydantic import Field

from pipeline_lib.rewards.base import FloatArray, Outcomes, Reward, Weight
from pipeline_lib.section import Fraction, Section


class L1MaxParameters(Section):
    alpha: Weight = Field(0.0003, description="Gain or cost of a token below or above L_T.")
    delta: Fraction = Field(0.5, description="Reward of a correct rollout of exactly L_T tokens.")


class L1MaxReward(Reward[L1MaxParameters]):
    """A right rollout earns more the shorter it is, nothing from L_T + δ/α tokens on; a wrong one nothing."""

    Parameters = L1MaxParameters

    def score(self, outcomes: Outcomes) -> FloatArray:
        room_PN = self.target_tokens - outcomes.lengths_PN
        factor_PN: FloatArray = np.clip(self.parameters.alpha * room_PN + self.parameters.delta, 0.0, 1.0)
        return outcomes.correct_PN * factor_PN
