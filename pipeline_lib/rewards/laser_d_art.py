"""What the paper calls Laser-D (eq. 6): Laser + 1[incorrect] · α · 1[L >= L_T], α = 0.4.

The bonus for long wrong rollouts is there to keep the policy exploring. Against its name this is a static Laser-DE: the original
Laser-D (`laser_d`) has no such bonus, but targets by difficulty; the original Laser-DE (`laser_de`) has both and a guard against
repetition.
"""

from pipeline_lib.rewards.base import FloatArray, Outcomes
from pipeline_lib.rewards.laser import LaserReward


class LaserDArtReward(LaserReward):
    """Laser, and long wrong rollouts earn α."""

    def score(self, outcomes: Outcomes) -> FloatArray:
        explores_PN = ~outcomes.correct_PN & (outcomes.lengths_PN >= self.target_tokens)
        return super().score(outcomes) + self.parameters.alpha * explores_PN
