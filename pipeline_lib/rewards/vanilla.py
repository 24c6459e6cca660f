"""Correctness alone, blind to length: 1[c]. The control against which a length reward is judged."""

from pipeline_lib.rewards.base import FloatArray, NoParameters, Outcomes, Reward


class VanillaReward(Reward[NoParameters]):
    """1 for a correct rollout, 0 otherwise."""

    def score(self, outcomes: Outcomes) -> FloatArray:
        return outcomes.correct_PN.astype(float)
