"""Short-RL's lazy length penalty (arXiv 2505.12284; lblankl/Short-RL, deepscaler/deepscaler/rewards/ShortRL.py).

Correct 3 + l, wrong -0.5, no answer -3 (the code's answer and format scores added up). With L_min and L_max over the group's
correct rollouts: l = 0.5 if L <= L_min + τ_l, else 0.5 - (L - L_min) / (L_max - L_min); and l = 0 for the whole batch while its
accuracy is below the best batch so far less τ_acc. τ_acc = 0.05, τ_l = 100 for mathematics (200 for logic).
Outcomes do not tell whether there was an answer: cut at L_R counts as none.
"""

from typing import Any

import numpy as np
from pydantic import Field

from pipeline_lib.rewards.base import FloatArray, Outcomes, Penalty, Reward, Weight
from pipeline_lib.section import Fraction, NonNegativeInt, Section


class ShortRLParameters(Section):
    correct_reward: Weight = Field(3.0, description="Reward of a correct rollout before the length term.")
    wrong_reward: Penalty = Field(-0.5, description="Reward of a wrong rollout.")
    cut_reward: Penalty = Field(-3.0, description="Reward of a wrong rollout that was cut at L_R and so has no answer.")
    accuracy_tolerance: Fraction = Field(0.05, description="τ_acc: fall from the best batch accuracy that switches length off.")
    length_tolerance_tokens: NonNegativeInt = Field(
        100, description="τ_l: tokens above the shortest correct one that are free."
    )


class ShortRLReward(Reward[ShortRLParameters]):
    """Presses for brevity among the right rollouts only, and only while accuracy holds. `observe` tells whether it does."""

    Parameters = ShortRLParameters

    def __init__(self, parameters: ShortRLParameters, target_tokens: int, limit_tokens: int) -> None:
        super().__init__(parameters, target_tokens, limit_tokens)
        self.best_accuracy = 0.0
        self.active = True

    def observe(self, outcomes: Outcomes) -> None:
        accuracy = float(outcomes.correct_PN.mean())
        self.best_accuracy = max(self.best_accuracy, accuracy)
        self.active = accuracy >= self.best_accuracy - self.parameters.accuracy_tolerance

    def score(self, outcomes: Outcomes) -> FloatArray:
        settings = self.parameters
        wrong_PN = np.where(outcomes.finished_PN, settings.wrong_reward, settings.cut_reward)
        length_PN = self._length_term(outcomes) if self.active else 0.0
        rewards_PN: FloatArray = np.where(outcomes.correct_PN, settings.correct_reward + length_PN, wrong_PN)
        return rewards_PN

    def _length_term(self, outcomes: Outcomes) -> FloatArray:
        lengths_PN, correct_PN = outcomes.lengths_PN, outcomes.correct_PN
        # A group without a correct rollout takes its own extremes: what comes out for it is not used, but finite.
        shortest_P1 = np.where(correct_PN, lengths_PN, lengths_PN.max(axis=1, keepdims=True)).min(axis=1, keepdims=True)
        longest_P1 = np.where(correct_PN, lengths_PN, lengths_PN.min(axis=1, keepdims=True)).max(axis=1, keepdims=True)
        excess_PN = lengths_PN - shortest_P1
        free_PN = excess_PN <= self.parameters.length_tolerance_tokens
        return 0.5 - np.where(free_PN, 0.0, excess_PN / np.maximum(longest_P1 - shortest_P1, 1))

    def state(self) -> dict[str, Any]:
        return {"best_accuracy": self.best_accuracy, "active": self.active}

    def load_state(self, state: dict[str, Any]) -> None:
        self.best_accuracy, self.active = float(state["best_accuracy"]), bool(state["active"])
