"""Arora & Zanette, "Training Language Models to Reason Efficiently" (arXiv 2502.04463; Zanette-Labs/efficient-reasoning).

1[c] · (1 - α · σ(z)), z = (L - μ) / s over the group's correct rollouts, σ the logistic function; 0 for what did not end by itself
(reward_server/math_server.py). Released models: α = 0.05 to 0.4. Which denominator the variance has could not be confirmed (here
n); equally long correct rollouts have z = 0.
"""

import numpy as np
from pydantic import Field

from pipeline_lib.rewards.base import FloatArray, Outcomes, Reward
from pipeline_lib.section import Fraction, Section


class AroraZanetteParameters(Section):
    alpha: Fraction = Field(0.4, description="Most that length can cost a correct rollout (released models: 0.05 to 0.4).")


class AroraZanetteReward(Reward[AroraZanetteParameters]):
    """A right rollout loses more the longer it is among the right ones of its prompt; no absolute length matters."""

    Parameters = AroraZanetteParameters

    def score(self, outcomes: Outcomes) -> FloatArray:
        z_PN = outcomes.correct_z_scores(sample_std=False)
        paid_PN = outcomes.correct_PN & outcomes.finished_PN
        return paid_PN * (1.0 - self.parameters.alpha / (1.0 + np.exp(-z_PN)))
