"""L1-Exact, LCPO (arXiv 2503.04697 eq. 1; cmu-l3/l1 math_reward.py, run_l1_exact.sh): 1[c] - α · |n_gold - L|, α = 0.0003.

n_gold is L_T here. The original draws it for each prompt from 100 to 4000 tokens and writes it into the prompt ("Think for n
tokens."), to train a model that obeys; here it is one length for all prompts, which the `suffix` of the prompt source may state.
A wrong rollout of the right length beats a right one more than 1/α tokens away.
"""

import numpy as np
from pydantic import Field

from pipeline_lib.rewards.base import FloatArray, Outcomes, Reward, Weight
from pipeline_lib.section import Section


class L1ExactParameters(Section):
    alpha: Weight = Field(0.0003, description="Cost of a token of distance from L_T.")


class L1ExactReward(Reward[L1ExactParameters]):
    """Pays for being right and costs every token away from L_T, above or below, right or wrong."""

    Parameters = L1ExactParameters

    def score(self, outcomes: Outcomes) -> FloatArray:
        distance_PN: FloatArray = np.abs(self.target_tokens - outcomes.lengths_PN)
        return outcomes.correct_PN - self.parameters.alpha * distance_PN
