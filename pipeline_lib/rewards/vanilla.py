"""Correctness alone, blind to length: 1[c]. The control against which a length reward is judged."""

from pipeline_lib.rewards.base import BoolArray, FloatArray, IntArray, Reward


class VanillaReward(Reward):
    """1 for a correct rollout, 0 otherwise."""

    def score(self, lengths_G: IntArray, correct_G: BoolArray) -> FloatArray:
        return correct_G.astype(float)
