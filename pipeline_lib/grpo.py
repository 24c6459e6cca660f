"""Group-relative policy optimisation (GRPO) as the paper uses it: advantages, clipped token-level loss, k3 KL. Pure tensors.

Shape suffixes: P = prompts (groups), N = rollouts a prompt, B = rollouts in a micro-batch, T = response tokens, padded.
"""

import torch
from torch import Tensor

STD_EPSILON = 1e-4


def group_advantages(rewards_PN: Tensor) -> Tensor:
    """Advantages_PN: rewards centred and scaled within each group, (r - mean) / (std + 1e-4).

    The standard deviation has the n - 1 denominator (torch's default, as in TRL and verl), so with N = 4 the one positive in
    {1, 0, 0, 0} gets 0.75 / 0.5001. A group whose rewards are all equal gets exactly 0: rounding of the mean must not turn
    into a gradient. Needs N >= 2.
    """
    assert rewards_PN.ndim == 2 and rewards_PN.shape[1] >= 2, f"rewards_PN of shape {tuple(rewards_PN.shape)}, N >= 2 needed"
    centred_PN = rewards_PN - rewards_PN.mean(dim=1, keepdim=True)
    advantages_PN = centred_PN / (rewards_PN.std(dim=1, keepdim=True) + STD_EPSILON)
    zero_variance_P1 = rewards_PN.amax(dim=1, keepdim=True) == rewards_PN.amin(dim=1, keepdim=True)
    return advantages_PN.masked_fill(zero_variance_P1, 0.0)


def loss_denominator(num_tokens_PN: Tensor, advantages_PN: Tensor) -> int:
    """Tokens by which the loss of one optimiser step is divided: those of every rollout in a group with a non-zero advantage.

    The paper says "token-level" and leaves open whether groups without a signal count. Here they do not: they cost no forward
    pass, and counting them would make the step smaller the more prompts are solved (or failed) by all rollouts. With several
    processes the caller sums this over all of them. 0 means that the step has nothing to learn from and must be skipped.
    """
    assert num_tokens_PN.shape == advantages_PN.shape
    has_signal_P1 = (advantages_PN != 0).any(dim=1, keepdim=True)
    return int((num_tokens_PN * has_signal_P1).sum())


def policy_loss(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_B: Tensor,
    mask_BT: Tensor,
    clip_low: float,
    clip_high: float,
    denominator: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Clipped surrogate loss with DAPO's separate upper clip, summed over tokens and divided by `denominator`.

    Per token, with ratio = exp(logprob - old logprob): -min(ratio · A, clip(ratio, 1 - clip_low, 1 + clip_high) · A).
    `mask_BT` is 1 on response tokens; what lies elsewhere is ignored, whatever its value. `denominator` is the number of
    rollout tokens of the whole optimiser step over all processes (`loss_denominator`), so that the losses, gradients and
    metrics of micro-batches and processes simply add up. Metrics, detached, each the share or mean over those tokens:
    clip_fraction (tokens whose gradient the clip removes), ratio (mean importance ratio), policy_kl (k3, old to new policy).
    """
    assert denominator > 0, "a step without a learning signal must be skipped, not divided by 0"
    mask_BT = mask_BT.bool()
    log_ratio_BT = torch.where(mask_BT, logprobs_BT - old_logprobs_BT, 0.0)
    ratio_BT = log_ratio_BT.exp()
    clipped_ratio_BT = ratio_BT.clamp(1.0 - clip_low, 1.0 + clip_high)
    advantages_B1 = advantages_B.unsqueeze(1)
    gain_BT = torch.minimum(ratio_BT * advantages_B1, clipped_ratio_BT * advantages_B1)
    loss = -(gain_BT * mask_BT).sum() / denominator
    with torch.no_grad():
        above_BT = (ratio_BT > 1.0 + clip_high) & (advantages_B1 > 0)
        below_BT = (ratio_BT < 1.0 - clip_low) & (advantages_B1 < 0)
        metrics = {
            "clip_fraction": ((above_BT | below_BT) & mask_BT).sum() / denominator,
            "ratio": (ratio_BT * mask_BT).sum() / denominator,
            "policy_kl": ((torch.expm1(log_ratio_BT) - log_ratio_BT) * mask_BT).sum() / denominator,
        }
    return loss, metrics


def k3_kl(logprobs_BT: Tensor, reference_logprobs_BT: Tensor) -> Tensor:
    """The k3 estimate of KL(policy || reference) at each sampled token: exp(d) - d - 1 with d = reference - policy log-prob.

    Never negative, zero where the two agree, unbiased for tokens sampled from the policy; not clamped.
    """
    log_ratio_BT = reference_logprobs_BT - logprobs_BT
    # expm1 keeps the digits that exp(d) - 1 loses where the two policies nearly agree.
    return torch.expm1(log_ratio_BT) - log_ratio_BT
