"""The cosine reward of "Demystifying Long Chain-of-Thought Reasoning" (arXiv 2502.03373 app. C.1), as in TRL.

v_long + 0.5 · (v_short - v_long) · (1 + cos(π · L / L_max)): correct from 1 (short) to 0.5 (long), wrong from -1 (short) to
-0.5 (long); L beyond L_max counts as L_max. These are the values of TRL's get_cosine_scaled_reward. The paper is restated with 2
to 1 for correct, -10 to 0 for wrong, and -10 for what exceeds the context; `cut_reward` gives the last.
"""

import numpy as np
from pydantic import Field, model_validator

from pipeline_lib.rewards.base import FloatArray, Outcomes, Reward, Score
from pipeline_lib.section import PositiveInt, Section


class CosineParameters(Section):
    correct_short: Score = Field(1.0, description="Reward of a correct rollout of length 0.")
    correct_long: Score = Field(0.5, description="Reward of a correct rollout of L_max tokens.")
    wrong_short: Score = Field(-1.0, description="Reward of a wrong rollout of length 0.")
    wrong_long: Score = Field(-0.5, description="Reward of a wrong rollout of L_max tokens.")
    cut_reward: Score | None = Field(None, description="Reward of a rollout cut at L_R, whatever else; absent: as by length.")
    limit_tokens: PositiveInt | None = Field(None, description="L_max; absent: L_R.")

    @model_validator(mode="after")
    def _short_is_better(self) -> "CosineParameters":
        if self.correct_short < self.correct_long:
            raise ValueError(f"correct_short = {self.correct_short} is below correct_long = {self.correct_long}")
        return self


class CosineReward(Reward[CosineParameters]):
    """Right: the shorter the better. Wrong: the longer the better, so that what is not solved yet is thought about longer."""

    Parameters = CosineParameters

    def score(self, outcomes: Outcomes) -> FloatArray:
        settings = self.parameters
        progress_PN = np.minimum(outcomes.lengths_PN / (settings.limit_tokens or self.limit_tokens), 1.0)
        shortness_PN = 0.5 * (1.0 + np.cos(np.pi * progress_PN))
        correct_PN = settings.correct_long + (settings.correct_short - settings.correct_long) * shortness_PN
        wrong_PN = settings.wrong_long + (settings.wrong_short - settings.wrong_long) * shortness_PN
        rewards_PN: FloatArray = np.where(outcomes.correct_PN, correct_PN, wrong_PN)
        if settings.cut_reward is not None:
            rewards_PN[~outcomes.finished_PN] = settings.cut_reward
        return rewards_PN
