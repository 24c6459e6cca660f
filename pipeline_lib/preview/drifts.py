"""First-order drifts of a step: which way one update with given advantages moves accuracy, length and entropy.

The N rollouts of a prompt are the arms of a softmax policy that the step multiplies by exp(eta · A). Per unit of eta the expected
outcome y then changes by the mean over rollouts of A · (y - mean y of the group), where rollouts kept out of the loss count with
A = 0. docs/preview.md derives this, the score, and their limits. Shape suffixes: G groups, N rollouts of a group.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline_lib.preview.groups import OutcomeOfGroups, ProfiledGroups
from pipeline_lib.rewards.base import BoolArray, FloatArray

# Sums that cancel leave about 1e-17.
NEGLIGIBLE = 1e-12


@dataclass(frozen=True, slots=True)
class Drifts:
    """Change per unit of eta, a value per group, as `..._G`; their mean over groups is the drift.

    `accuracy` at any length, `accuracy_within_target` within L_T; `length` in tokens; `correct_length` in tokens, of the correct
    rollouts (None without any); `entropy` in nats per token (None without log-probs); `skill`: the part of the accuracy drift
    that is between kept rollouts on the same side of L_T.
    """

    accuracy_G: FloatArray
    accuracy_within_target_G: FloatArray
    length_G: FloatArray
    correct_length_G: FloatArray | None
    entropy_G: FloatArray | None
    skill_G: FloatArray


def group_drifts(groups: ProfiledGroups, push_GN: FloatArray, kept_GN: BoolArray, target_tokens: float) -> Drifts:
    """Drifts under `push_GN`: the advantages, 0 where a rollout is kept out of the loss.

    Outcomes are those of whole rollouts: one that training cuts at L_R would have gone on, and can be right beyond it.
    """
    short, short_correct = groups.within_target(target_tokens)
    push_G = row_sums(push_GN)

    def drift_G(outcome: OutcomeOfGroups) -> FloatArray:
        moved_G: FloatArray = row_sums(push_GN, outcome.values_GN) - push_G * outcome.means_G
        return moved_G / groups.num_rollouts

    correct_length = groups.excess_of_correct_length
    return Drifts(
        accuracy_G=drift_G(groups.correct),
        accuracy_within_target_G=drift_G(short_correct),
        length_G=drift_G(groups.length),
        correct_length_G=None if correct_length is None else drift_G(correct_length),
        entropy_G=None if groups.excess_surprisal is None else drift_G(groups.excess_surprisal),
        skill_G=_skill(groups, push_GN, kept_GN, short.values_GN, short_correct.values_GN),
    )


def _skill(
    groups: ProfiledGroups, push_GN: FloatArray, kept_GN: BoolArray, short_GN: FloatArray, short_correct_GN: FloatArray
) -> FloatArray:
    """Covariance of push and correctness within each side of L_T, over the kept rollouts, summed over both sides."""
    correct_GN, kept_float_GN = groups.correct.values_GN, kept_GN.astype(np.float64)
    num_G, num_short_G = row_sums(kept_float_GN), row_sums(kept_float_GN, short_GN)
    correct_G, short_correct_G = row_sums(kept_float_GN, correct_GN), row_sums(kept_float_GN, short_correct_GN)
    push_G, push_short_G = row_sums(push_GN), row_sums(push_GN, short_GN)
    # What the correct rollouts of a side would get if its push did not look at correctness.
    blind_G = push_short_G * short_correct_G / np.maximum(num_short_G, 1.0)
    blind_G += (push_G - push_short_G) * (correct_G - short_correct_G) / np.maximum(num_G - num_short_G, 1.0)
    skill_G: FloatArray = (row_sums(push_GN, correct_GN) - blind_G) / groups.num_rollouts
    return skill_G


class Score(NamedTuple):
    """100 · sqrt(skill · brevity) / noise, 0 unless both are positive; `score_error`: its standard error over groups."""

    skill: float
    brevity: float
    noise: float
    score: float
    score_error: float


def score_of(skill_G: FloatArray, brevity_G: FloatArray, squared_noise_G: FloatArray) -> Score:
    """Score from a value per group: skill, relative fall of the length, squared gradient noise (their means are compared)."""
    skill, brevity, squared_noise = (float(values_G.mean()) for values_G in (skill_G, brevity_G, squared_noise_G))
    noise = math.sqrt(squared_noise)
    skill, brevity = (0.0 if abs(value) < NEGLIGIBLE else value for value in (skill, brevity))
    if skill <= 0 or brevity <= 0:
        return Score(skill, brevity, noise, 0.0, 0.0)
    score = 100.0 * math.sqrt(skill * brevity) / noise
    # The logarithm of the score to first order: half of each relative deviation.
    deviations_G = 0.5 * (skill_G / skill + brevity_G / brevity - squared_noise_G / squared_noise)
    return Score(skill, brevity, noise, score, score * float(deviations_G.std()) / math.sqrt(len(skill_G)))


def row_sums(*factors_GN: FloatArray) -> FloatArray:
    """Sums over each group of the product of some quantities; numpy's own sums over a short last axis are slow."""
    sums_G: FloatArray = np.einsum(",".join(["gn"] * len(factors_GN)) + "->g", *factors_GN)
    return sums_G


def correlation(first_GN: FloatArray, second_GN: FloatArray, weights_GN: FloatArray) -> float | None:
    """Pearson's correlation of two quantities over the rollouts of weight 1 (the others have 0); None where one does not vary."""
    number = _total(weights_GN)
    if number < 2:
        return None
    first_GN = (first_GN - _total(first_GN, weights_GN) / number) * weights_GN
    second_GN = (second_GN - _total(second_GN, weights_GN) / number) * weights_GN
    scale = math.sqrt(_total(first_GN, first_GN) * _total(second_GN, second_GN))
    return _total(first_GN, second_GN) / scale if scale > NEGLIGIBLE else None


def _total(*factors_GN: FloatArray) -> float:
    # Not @: BLAS wakes its threads for it, which takes longer than the sum, and much longer on a busy machine.
    return float(np.einsum(",".join(["gn"] * len(factors_GN)) + "->", *factors_GN))
