"""Group-relative policy optimisation (GRPO) and its known variants: advantages, policy loss, k3 KL. Pure tensors.

The defaults of `TrainConfig` are the paper's: advantages scaled by the std of their group, a token-level loss, clip-higher.
Shape suffixes: P = prompts (groups), N = rollouts per prompt, B = rollouts in a micro-batch, T = response tokens, padded.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline_lib.config.training import AdvantageEstimator, TrainConfig
from pipeline_lib.messages.finite import not_finite, stop_for

STD_EPSILON = 1e-4


def group_advantages(rewards_PN: Tensor, estimator: AdvantageEstimator = "grpo", counted_PN: Tensor | None = None) -> Tensor:
    """Advantages_PN: how much better each rollout is than its group.

    grpo: (r - mean) / (std + 1e-4), the std with the n - 1 denominator (as in TRL and verl), so that with N = 4 the one positive
    in {1, 0, 0, 0} gets 0.75 / 0.5001. mean: r - mean (Dr.GRPO). rloo: r - mean of the other rollouts, which is (r - mean) times
    n / (n - 1). batch_whitened: r - mean, to be divided by the spread of the whole batch (`whiten`).

    `counted_PN` (bool; absent: all) marks the rollouts that the statistics are taken over; the others get 0. A group whose
    counted rewards are all equal, or with fewer than 2 of them, gets exactly 0: rounding of the mean must not turn into a
    gradient. Needs N >= 2. Raises NotFiniteError for a reward that is NaN or infinite.
    """
    assert rewards_PN.ndim == 2 and rewards_PN.shape[1] >= 2, f"rewards_PN of shape {tuple(rewards_PN.shape)}, N >= 2 needed"
    stop_for(not_finite(rewards_PN.numpy(force=True), "the reward", lambda group, index: f"rollout {index} of group {group}"))
    counted_PN = torch.ones_like(rewards_PN, dtype=torch.bool) if counted_PN is None else counted_PN
    num_P1 = counted_PN.sum(dim=1, keepdim=True)
    mean_P1 = rewards_PN.masked_fill(~counted_PN, 0.0).sum(dim=1, keepdim=True) / num_P1.clamp(min=1)
    centred_PN = (rewards_PN - mean_P1).masked_fill(~counted_PN, 0.0)
    others_P1 = (num_P1 - 1).clamp(min=1)
    if estimator == "grpo":
        std_P1 = (centred_PN.square().sum(dim=1, keepdim=True) / others_P1).sqrt()
        advantages_PN = centred_PN / (std_P1 + STD_EPSILON)
    elif estimator == "rloo":
        advantages_PN = centred_PN * num_P1 / others_P1
    else:
        advantages_PN = centred_PN
    highest_P1 = rewards_PN.masked_fill(~counted_PN, -torch.inf).amax(dim=1, keepdim=True)
    lowest_P1 = rewards_PN.masked_fill(~counted_PN, torch.inf).amin(dim=1, keepdim=True)
    return advantages_PN.masked_fill(highest_P1 <= lowest_P1, 0.0)


def batch_moments(advantages_PN: Tensor, used_PN: Tensor) -> Tensor:
    """Count and sum of squares of the advantages of the rollouts in `used_PN` (bool) whose group has a signal.

    Shape [2], float64; moments of several ranks add up. Groups without a signal are left out: DLER removes them by dynamic
    sampling before it whitens, and counting their zeros would make the step larger the more prompts are solved (or failed) by
    all rollouts. Every rollout counts once; verl, DLER and OpenRLHF weigh it by its tokens, so that long rollouts set the scale.
    """
    counted_PN = used_PN & (used_PN & (advantages_PN != 0)).any(dim=1, keepdim=True)
    return torch.stack([counted_PN.sum().double(), advantages_PN[counted_PN].double().square().sum()])


def whiten(advantages_PN: Tensor, moments: Tensor) -> Tensor:
    """Advantages_PN divided by (std + 1e-4) of the batch: REINFORCE++-baseline (arXiv 2501.03262), as DLER uses it.

    `moments` are `batch_moments` summed over ranks. Each group is centred already, so the std is taken about 0 (n - 1
    denominator) and nothing is subtracted: over whole groups this is the published (A - mean) / std. Where rollouts are masked
    the mean of the rest is not 0, and subtracting it would turn the lesser of the rewarded rollouts into punished ones. Groups
    without a signal stay exactly 0; a batch without any signal becomes 0.
    """
    count, squares = moments.tolist()
    if squares == 0:
        return torch.zeros_like(advantages_PN)
    std = math.sqrt(squares / max(count - 1, 1))
    return advantages_PN / (std + STD_EPSILON)


def loss_denominator(num_tokens_B: Sequence[int], config: TrainConfig) -> float:
    """What the summed loss of one optimiser step is divided by, from the lengths of the rollouts that it trains on.

    token_mean: their tokens; sequence_mean: their number; dr_grpo: their number times L_R, a constant that favours no length.
    Parts of several micro-batches or ranks add up. Rollouts of groups without a signal, and masked ones, are not among them: the
    paper says "token-level" and leaves this open, but counting them would make the step smaller the more prompts are solved (or
    failed) by all rollouts. 0 means that the step has nothing to learn from and must be skipped.
    """
    if config.loss_aggregation == "token_mean":
        return float(sum(num_tokens_B))
    if config.loss_aggregation == "sequence_mean":
        return float(len(num_tokens_B))
    return float(len(num_tokens_B) * config.rollout_limit_tokens)


def aggregate(values_BT: Tensor, mask_BT: Tensor, config: TrainConfig, denominator: float) -> Tensor:
    """This micro-batch's part of the aggregate of one value a token, 0 outside the mask; parts add up (`loss_denominator`)."""
    sums_B = (values_BT * mask_BT).sum(dim=1)
    if config.loss_aggregation == "sequence_mean":
        sums_B = sums_B / mask_BT.sum(dim=1).clamp(min=1)
    return sums_B.sum() / denominator


def policy_loss(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_B: Tensor,
    mask_BT: Tensor,
    config: TrainConfig,
    denominator: float,
    num_tokens: float,
    engine_logprobs_BT: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Minus the gain of every token (`_clipped_gain`, `_cispo_gain`), aggregated over the optimiser step.

    `mask_BT` is 1 on response tokens; what lies elsewhere is ignored, whatever its value. `denominator` (`loss_denominator`) and
    `num_tokens` are those of the whole step over all ranks, so that the losses, gradients and metrics of micro-batches and ranks
    simply add up. With `engine_ratio_cap` each gain is weighted by min(old trainer / engine probability, cap), detached: token by
    token, since a product over the rollout leaves next to nothing of the long ones.

    Metrics, detached, shares or means over all tokens: clip_fraction (tokens whose gradient the clip removes or, in CISPO, whose
    weight it caps), ratio (mean importance ratio), policy_kl (k3, old to new policy), engine_ratio_capped_fraction.
    """
    assert denominator > 0 and num_tokens > 0, "a step without a learning signal must be skipped, not divided by 0"
    mask_BT = mask_BT.bool()
    log_ratio_BT = torch.where(mask_BT, logprobs_BT - old_logprobs_BT, 0.0)
    ratio_BT = _importance_ratio(log_ratio_BT, mask_BT, config)
    advantages_B1 = advantages_B.unsqueeze(1)
    if config.objective == "cispo":
        gain_BT, clipped_BT = _cispo_gain(ratio_BT, torch.where(mask_BT, logprobs_BT, 0.0), advantages_B1, config)
    else:
        gain_BT, clipped_BT = _clipped_gain(ratio_BT, advantages_B1, config)
    weight_BT, capped_BT = _engine_weight(old_logprobs_BT, engine_logprobs_BT, mask_BT, config)
    loss = -aggregate(gain_BT * weight_BT, mask_BT, config, denominator)
    with torch.no_grad():
        values = {
            "clip_fraction": clipped_BT,
            "ratio": ratio_BT,
            "policy_kl": torch.expm1(log_ratio_BT) - log_ratio_BT,
            "engine_ratio_capped_fraction": capped_BT,
        }
        metrics = {name: (values_BT * mask_BT).sum() / num_tokens for name, values_BT in values.items()}
    return loss, metrics


def _importance_ratio(log_ratio_BT: Tensor, mask_BT: Tensor, config: TrainConfig) -> Tensor:
    """New / old probability of each token, or (GSPO, arXiv 2507.18071) the geometric mean of them over the rollout.

    The geometric mean moves far less than a token's ratio: GSPO clips at 3e-4 and 4e-4. Its objective is the sequence_mean of
    the gains; each of the T tokens then has the gradient s · A / T, s being the mean.
    """
    if config.importance_ratio == "token":
        return log_ratio_BT.exp()
    mean_B1 = log_ratio_BT.sum(dim=1, keepdim=True) / mask_BT.sum(dim=1, keepdim=True).clamp(min=1)
    return mean_B1.exp().expand_as(log_ratio_BT)


def _clipped_gain(ratio_BT: Tensor, advantages_B1: Tensor, config: TrainConfig) -> tuple[Tensor, Tensor]:
    """PPO's gain min(ratio · A, clip(ratio, 1 - clip_low, 1 + clip_high) · A), and where its gradient is 0.

    The separate upper clip is DAPO's. Dual clip (arXiv 1912.09729): where A < 0 the gain is at least dual_clip · A.
    """
    clipped_ratio_BT = ratio_BT.clamp(1.0 - config.clip_low, 1.0 + config.clip_high)
    gain_BT = torch.minimum(ratio_BT * advantages_B1, clipped_ratio_BT * advantages_B1)
    above_BT = (ratio_BT > 1.0 + config.clip_high) & (advantages_B1 > 0)
    below_BT = (ratio_BT < 1.0 - config.clip_low) & (advantages_B1 < 0)
    if config.dual_clip is None:
        return gain_BT, above_BT | below_BT
    floored_BT = (ratio_BT > config.dual_clip) & (advantages_B1 < 0)
    gain_BT = torch.where(floored_BT, config.dual_clip * advantages_B1, gain_BT)
    return gain_BT, above_BT | below_BT | floored_BT


def _cispo_gain(ratio_BT: Tensor, logprobs_BT: Tensor, advantages_B1: Tensor, config: TrainConfig) -> tuple[Tensor, Tensor]:
    """CISPO's gain min(ratio, 1 + clip_high) · A · logprob, the weight detached, and where the cap acts.

    Every token keeps a gradient, through its log-prob alone. No lower bound on the ratio, as in MiniMax-M1 (arXiv 2506.13585);
    `clip_low` and `dual_clip` play no part.
    """
    ratio_BT = ratio_BT.detach()
    return ratio_BT.clamp(max=1.0 + config.clip_high) * advantages_B1 * logprobs_BT, ratio_BT > 1.0 + config.clip_high


def _engine_weight(
    old_logprobs_BT: Tensor, engine_logprobs_BT: Tensor | None, mask_BT: Tensor, config: TrainConfig
) -> tuple[Tensor, Tensor]:
    """The truncated importance weight of each token, 1 without the correction, and where the cap acts."""
    if config.engine_ratio_cap is None:
        return torch.ones_like(old_logprobs_BT), torch.zeros_like(mask_BT)
    assert engine_logprobs_BT is not None, "engine_ratio_cap needs the engine's log-probs"
    ratio_BT = torch.where(mask_BT, old_logprobs_BT - engine_logprobs_BT, 0.0).exp().detach()
    return ratio_BT.clamp(max=config.engine_ratio_cap), ratio_BT > config.engine_ratio_cap


def k3_kl(logprobs_BT: Tensor, reference_logprobs_BT: Tensor) -> Tensor:
    """The k3 estimate of KL(policy || reference) at each sampled token: exp(d) - d - 1 with d = reference - policy log-prob.

    Never negative, zero where the two agree, unbiased for tokens sampled from the policy; not clamped.
    """
    log_ratio_BT = reference_logprobs_BT - logprobs_BT
    # expm1 keeps the digits that exp(d) - 1 loses where the two policies nearly agree.
    return torch.expm1(log_ratio_BT) - log_ratio_BT
