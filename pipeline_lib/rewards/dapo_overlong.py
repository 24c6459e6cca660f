"""DAPO's soft overlong punishment (arXiv 2503.14476 eq. 13; TRL get_soft_overlong_punishment, verl's DAPO reward manager).

Correct 1, wrong -1 (DAPO's outcome reward), plus 0 up to L_max - b tokens, (L_max - b - L) / b in the buffer of b tokens below
L_max, and -1 beyond L_max. Published: b = 4096 of L_max = 20480.
"""

import numpy as np
from pydantic import Field

from pipeline_lib.rewards.base import FloatArray, Outcomes, Penalty, Reward
from pipeline_lib.section import PositiveInt, Section

BUFFER_OF_LIMIT = 0.2


class DapoOverlongParameters(Section):
    wrong_reward: Penalty = Field(-1.0, description="Outcome reward of a wrong rollout; TRL's users often take 0.")
    buffer_tokens: PositiveInt | None = Field(
        None, description="b: tokens over which the punishment grows; absent: a fifth of L_R, as published."
    )


class DapoOverlongReward(Reward[DapoOverlongParameters]):
    """Punishes only what comes near L_R (L_max), right or wrong; L_T has no part in it."""

    Parameters = DapoOverlongParameters

    def __init__(self, parameters: DapoOverlongParameters, target_tokens: int, limit_tokens: int) -> None:
        super().__init__(parameters, target_tokens, limit_tokens)
        self._buffer_tokens = self.tokens_within_limit("buffer_tokens", BUFFER_OF_LIMIT * self.limit_tokens)

    def score(self, outcomes: Outcomes) -> FloatArray:
        excess_PN = outcomes.lengths_PN - (self.limit_tokens - self._buffer_tokens)
        outcome_PN = np.where(outcomes.correct_PN, 1.0, self.parameters.wrong_reward)
        rewards_PN: FloatArray = outcome_PN - np.clip(excess_PN / self._buffer_tokens, 0.0, 1.0)
        return rewards_PN
