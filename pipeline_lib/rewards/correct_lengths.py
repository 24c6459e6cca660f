"""Lengths of a group's correct rollouts, standardised: what several rewards compare a correct rollout with."""

import numpy as np

from pipeline_lib.rewards.base import FloatArray, Outcomes


def correct_z_scores(outcomes: Outcomes, sample_std: bool) -> FloatArray:
    """z_PN of correct rollouts: (L - mean) / std over the group's correct ones; 0 where these are equally long, and for wrong ones.

    `sample_std`: the denominator of the variance is n - 1, else n.
    """
    correct_PN, num_correct_P1 = outcomes.correct_PN, np.maximum(outcomes.num_correct_P1, 1)
    mean_P1 = (outcomes.lengths_PN * correct_PN).sum(axis=1, keepdims=True) / num_correct_P1
    distance_PN = (outcomes.lengths_PN - mean_P1) * correct_PN
    degrees_P1 = np.maximum(num_correct_P1 - sample_std, 1)
    std_P1 = np.sqrt((distance_PN**2).sum(axis=1, keepdims=True) / degrees_P1)
    z_PN: FloatArray = distance_PN / np.where(std_P1 > 0, std_P1, 1.0)
    return z_PN
