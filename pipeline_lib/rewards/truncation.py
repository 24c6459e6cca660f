"""The paper's baseline length reward (eq. 2): 1[c] · 1[L <= L_T]."""

from typing import Generic

from pipeline_lib.rewards.base import FloatArray, NoParameters, Outcomes, ParametersT, Reward


class ShortAndCorrectReward(Reward[ParametersT], Generic[ParametersT]):
    """1 for a correct rollout of at most `target_tokens` tokens (exactly that many counts as short), 0 otherwise."""

    def score(self, outcomes: Outcomes) -> FloatArray:
        return (outcomes.correct_PN & (outcomes.lengths_PN <= self.target_tokens)).astype(float)


class TruncationReward(ShortAndCorrectReward[NoParameters]):
    """The rule with a fixed L_T."""
