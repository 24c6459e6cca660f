"""Laser (arXiv 2505.15612) as the paper writes it (eq. 5): 1[c] · (1 + α · 1[L < L_T]), α = 0.4.

Strictly below L_T, unlike `truncation`. The original (hkust-nlp/Laser, length_penalty.py) differs: L <= L_T, a bonus of 0.5, and
scores of -0.5 for a wrong and -1 for a missing answer; `laser_d` has these.
"""

from pydantic import Field

from pipeline_lib.rewards.base import FloatArray, Outcomes, Reward, Weight
from pipeline_lib.section import Section


class LaserParameters(Section):
    alpha: Weight = Field(0.4, description="Bonus of a correct rollout below L_T (paper: 0.4).")


class LaserReward(Reward[LaserParameters]):
    """A bonus for what is right and short; right and long still earns 1."""

    Parameters = LaserParameters

    def score(self, outcomes: Outcomes) -> FloatArray:
        return outcomes.correct_PN * (1.0 + self.parameters.alpha * (outcomes.lengths_PN < self.target_tokens))
