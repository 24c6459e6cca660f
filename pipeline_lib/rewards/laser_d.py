"""Laser-D as published (arXiv 2505.15612; hkust-nlp/Laser, verl/utils/reward_score/length_penalty.py): targets by difficulty.

Correct 1 + b · 1[L <= L_T(band)], wrong -0.5, no answer -1, b = 0.5. A prompt's band is high, medium or low as at least 2/3, 1/3
or fewer of its rollouts are correct. L_T(band) is the smallest length of a grid at which the group is still expected to have a
correct rollout: floor(coverage · n) >= 1, where coverage is the share of the band's rollouts that fit, and n the fewest correct
rollouts of a group of the band: floor(2N/3), floor(N/3) or 1. Where no length does, L_T(band) = L_R: all get the bonus.

Differences: the original samples 500 monitor prompts every 20 steps for the coverage; here the latest 500 training groups stand
for them, which costs nothing and follows the policy every step, but sees each prompt while it is trained on. Its coverage counts
groups of exactly 1/3 and 2/3 to the lower band, its reward to the higher; here both do the latter. Outcomes do not tell whether
there was an answer: cut at L_R counts as none.
"""

from collections import deque
from typing import Any

import numpy as np
from pydantic import Field

from pipeline_lib.rewards.base import FloatArray, IntArray, Outcomes, Penalty, Reward, Weight
from pipeline_lib.section import PositiveInt, Section

BANDS = ("low", "medium", "high")
STEPS_OF_LIMIT = 16


class LaserDParameters(Section):
    bonus: Weight = Field(0.5, description="Bonus of a correct rollout of at most the target of its band.")
    wrong_reward: Penalty = Field(-0.5, description="Reward of a wrong rollout.")
    cut_reward: Penalty = Field(-1.0, description="Reward of a wrong rollout that was cut at L_R and so has no answer.")
    lower_bound_tokens: PositiveInt | None = Field(
        None, description="Smallest target of a band (published: 1024, 2048, 4096); absent: reward.target_tokens."
    )
    step_tokens: PositiveInt | None = Field(
        None, description="Step of the grid of targets; absent: a sixteenth of L_R, as the published 1024 of 16384."
    )
    monitor_groups: PositiveInt = Field(500, description="Latest groups from which the targets are estimated.")
    expected_correct: PositiveInt = Field(1, description="Correct rollouts that must be expected to fit.")


class LaserDReward(Reward[LaserDParameters]):
    """A bonus for what is right and, for its difficulty, short. `target_tokens` stays as configured (the masks use it)."""

    Parameters = LaserDParameters

    def __init__(self, parameters: LaserDParameters, target_tokens: int, limit_tokens: int) -> None:
        super().__init__(parameters, target_tokens, limit_tokens)
        lower_bound = self.tokens_within_limit("lower_bound_tokens", min(self.target_tokens, self.limit_tokens))
        step = self.tokens_within_limit("step_tokens", max(self.limit_tokens / STEPS_OF_LIMIT, 1.0))
        self._grid_A = np.arange(lower_bound, self.limit_tokens + step, step)
        self._monitored: deque[tuple[int, list[int]]] = deque(maxlen=self.parameters.monitor_groups)
        self.band_targets = dict.fromkeys(BANDS, self.target_tokens)

    def observe(self, outcomes: Outcomes) -> None:
        latest = slice(-self.parameters.monitor_groups, None)
        bands_P = _bands(outcomes)[latest].tolist()
        self._monitored.extend(zip(bands_P, outcomes.lengths_PN[latest].tolist(), strict=True))
        self._estimate_targets()

    def _estimate_targets(self) -> None:
        num_rollouts = len(self._monitored[-1][1])
        fewest_correct = {"low": 1, "medium": num_rollouts // 3, "high": 2 * num_rollouts // 3}
        for band, name in enumerate(BANDS):
            lengths = np.array([length for group in self._monitored if group[0] == band for length in group[1]])
            # Whole numbers: (k / M) * n may fall just short of the whole number that it is.
            num_fitting_A = np.searchsorted(np.sort(lengths), self._grid_A, side="right")
            enough_A = num_fitting_A * fewest_correct[name] >= self.parameters.expected_correct * max(lengths.size, 1)
            self.band_targets[name] = float(self._grid_A[enough_A].min(initial=self.limit_tokens))

    def score(self, outcomes: Outcomes) -> FloatArray:
        wrong_PN = np.where(outcomes.finished_PN, self.parameters.wrong_reward, self.parameters.cut_reward)
        paid_PN = 1.0 + self.parameters.bonus * (outcomes.lengths_PN <= self._targets_P1(outcomes))
        rewards_PN: FloatArray = np.where(outcomes.correct_PN, paid_PN, wrong_PN)
        return rewards_PN

    def _targets_P1(self, outcomes: Outcomes) -> FloatArray:
        targets = np.array([self.band_targets[name] for name in BANDS])
        targets_P1: FloatArray = targets[_bands(outcomes)][:, None]
        return targets_P1

    def state(self) -> dict[str, Any]:
        return {"monitored": [[band, lengths] for band, lengths in self._monitored]}

    def load_state(self, state: dict[str, Any]) -> None:
        self._monitored.clear()
        self._monitored.extend((band, lengths) for band, lengths in state["monitored"])
        if self._monitored:
            self._estimate_targets()


def _bands(outcomes: Outcomes) -> IntArray:
    """bands_P: place in `BANDS` of each group."""
    tripled_P, num_rollouts = 3 * outcomes.num_correct_P1[:, 0], outcomes.correct_PN.shape[1]
    bands_P: IntArray = (tripled_P >= num_rollouts).astype(np.int64) + (tripled_P >= 2 * num_rollouts)
    return bands_P
