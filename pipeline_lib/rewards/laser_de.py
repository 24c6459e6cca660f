"""Laser-DE as published (arXiv 2505.15612; hkust-nlp/Laser): Laser-D, and a wrong answer with L > L_T(band) earns b = 0.5, too.

The bonus makes up for the -0.5 of a wrong answer, so that long tries on what is not solved cost nothing. None for a rollout that
has no answer (cut at L_R) or that repeats itself. The published guard against repetition flags nearly every chain of thought of
some length, so that its Laser-DE hardly differs from Laser-D; ours flags loops (`pipeline_lib.rewards.repetition`).
"""

from typing import ClassVar

from pipeline_lib.rewards.base import FloatArray, Outcomes
from pipeline_lib.rewards.laser_d import LaserDReward


class LaserDEReward(LaserDReward):
    """Laser-D that does not punish a long, finished, wrong try."""

    reads_text: ClassVar[bool] = True

    def score(self, outcomes: Outcomes) -> FloatArray:
        long_PN = outcomes.lengths_PN > self._targets_P1(outcomes)
        explores_PN = ~outcomes.correct_PN & outcomes.finished_PN & ~outcomes.repetitive_PN & long_PN
        return super().score(outcomes) + self.parameters.bonus * explores_PN
