"""GRPO-LEAD (arXiv 2504.09696; aeroplanepaper/GRPO-LEAD verl/trainer/main_ppo.py and core_algos.py).

Correct exp(-α · z), z = (L - μ) / s over the group's correct rollouts (n - 1; 0 where these are equally long), wrong -1. Its
advantages are weighted by difficulty, ρ the share of correct rollouts: w(ρ) = A + (B - A) / (1 + exp(k · (ρ - ρ_0))) where
positive, w(1 - ρ) otherwise; A = 0.4, B = 1.5, ρ_0 = 0.75, k = 10. The rest of the code's special cases is left out: no length
term where the three shortest rollouts average at most 4000 tokens, 0 for a missing answer, -2 for repetition. That the paper
gives the wrong reward as -1 and which α it uses are known from restatements only; 0.05 is the released code's.
"""

from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from pipeline_lib.rewards.base import FloatArray, Outcomes, Penalty, Reward, Weight
from pipeline_lib.section import Fraction, Section


class GrpoLeadParameters(Section):
    alpha: Annotated[float, Field(gt=0.0, le=10.0)] = Field(0.05, description="Strength of the length term.")
    wrong_reward: Penalty = Field(-1.0, description="Reward of a wrong rollout.")
    easy_weight: Weight = Field(0.4, description="A: weight of the advantages on the easiest prompts.")
    hard_weight: Weight = Field(1.5, description="B: weight on the hardest prompts.")
    midpoint: Fraction = Field(0.75, description="ρ_0: pass rate at which the weight is half way.")
    steepness: Annotated[float, Field(gt=0.0, le=100.0)] = Field(10.0, description="k: how sharply the weight falls there.")

    @model_validator(mode="after")
    def _hard_counts_more(self) -> "GrpoLeadParameters":
        if self.hard_weight < self.easy_weight:
            raise ValueError(f"hard_weight = {self.hard_weight} is below easy_weight = {self.easy_weight}")
        return self


class GrpoLeadReward(Reward[GrpoLeadParameters]):
    """Compares the right rollouts of a prompt, punishes wrong ones, and learns more from a rare success or a rare failure."""

    Parameters = GrpoLeadParameters

    def score(self, outcomes: Outcomes) -> FloatArray:
        shaped_PN = np.exp(-self.parameters.alpha * outcomes.correct_z_scores(sample_std=True))
        rewards_PN: FloatArray = np.where(outcomes.correct_PN, shaped_PN, self.parameters.wrong_reward)
        return rewards_PN

    def weigh(self, advantages_PN: FloatArray, outcomes: Outcomes) -> FloatArray:
        pass_rate_P1 = outcomes.pass_rate_P1
        weights_PN: FloatArray = np.where(
            advantages_PN > 0, self._difficulty_weight(pass_rate_P1), self._difficulty_weight(1 - pass_rate_P1)
        )
        return advantages_PN * weights_PN

    def _difficulty_weight(self, rate_P1: FloatArray) -> FloatArray:
        settings = self.parameters
        falling_P1 = 1.0 / (1.0 + np.exp(settings.steepness * (rate_P1 - settings.midpoint)))
        return settings.easy_weight + (settings.hard_weight - settings.easy_weight) * falling_P1
