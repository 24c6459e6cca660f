"""DLER (arXiv 2510.15110; NVlabs/DLER, verl-dler/dler_slurm.sh): 1[c] · 1[L <= L_T], published with L_R = L_T = 4000.

The reward is `truncation`; what DLER adds is in the optimisation, that is in `train`: advantage = "batch_whitened" (group mean
subtracted, scaled over the batch), clip_low = 0.2, clip_high = 0.28, dual_clip = 10, dynamic_sampling_batches above 0 (groups of
equal rewards are replaced), loss_aggregation = "token_mean", kl_coefficient = 0.0005, num_rollouts = 16, temperature = 1. Two
details of its code are left out: 0.1 added to the advantage of high-scoring rollouts, and a factor 0.1 on the reward of rollouts
cut at L_R, which is 0 here as a cut rollout is never right.
"""

from pipeline_lib.rewards.truncation import TruncationReward


class DlerReward(TruncationReward):
    """Truncation, the reward of the recipe."""
