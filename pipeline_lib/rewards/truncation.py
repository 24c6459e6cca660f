"""The paper's baseline length reward (eq. 2): 1[c] · 1[L <= L_T]."""

from pipeline_lib.config import RewardConfig
from pipeline_lib.rewards.base import BoolArray, FloatArray, IntArray, Reward


class TruncationReward(Reward):
    """1 for a correct rollout of at most `target_tokens` tokens (exactly that many counts as short), 0 otherwise."""

    def __init__(self, config: RewardConfig) -> None:
        super().__init__(config)
        self.target_tokens = config.target_tokens

    def score(self, lengths_G: IntArray, correct_G: BoolArray) -> FloatArray:
        return (correct_G & (lengths_G <= self.target_tokens)).astype(float)
