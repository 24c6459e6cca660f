"""The optimiser steps on one batch of rollouts: clipped token-level GRPO loss over micro-batches, optionally a KL to the base.

Shape suffixes: B sequences of a micro-batch, T padded tokens.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist

from pipeline_lib.config import RunConfig, TrainConfig
from pipeline_lib.grpo import k3_kl, policy_loss
from pipeline_lib.training.batches import PaddedBatch
from pipeline_lib.training.groups import RolloutGroups
from pipeline_lib.training.metrics import sum_over_ranks
from pipeline_lib.training.policy import Policy, ResponseLogprobs, load_causal_lm, sum_or_max_over_ranks


@dataclass(slots=True)
class UpdateMetrics:
    """Of all optimiser steps of a batch, over all ranks. None: no step was taken, since no group had a signal."""

    num_tokens: int = 0
    loss: float | None = None
    kl: float | None = None
    clip_fraction: float | None = None
    grad_norm: float | None = None
    logprob_gap: float = 0.0
    learning_rate: float = 0.0
    optimizer_steps: int = 0


class Reference:
    """The frozen base model, for the KL."""

    def __init__(self, config: RunConfig, base_folder: str) -> None:
        causal_lm = load_causal_lm(base_folder, config.model_revision, config.train.precision)
        self._module = ResponseLogprobs(causal_lm, config.train.temperature).requires_grad_(False)
        if torch.cuda.is_available():
            self._module.cuda()

    @torch.no_grad()
    def logprobs(self, batch: PaddedBatch) -> torch.Tensor:
        """Log-probs of the response tokens under the base model, logprobs_BT."""
        result: torch.Tensor = self._module(batch.input_ids_BT, batch.response_mask_BT)
        return result


def update_policy(policy: Policy, reference: Reference | None, groups: RolloutGroups, config: TrainConfig) -> UpdateMetrics:
    """Take S optimiser steps on a batch, each on its share of the groups; one without any signal is not taken.

    Skipping matters: Adam's momentum would move the weights even with zero gradients.
    """
    metrics = UpdateMetrics(learning_rate=policy.learning_rate)
    steps = [policy.micro_batches(groups.sequences(lag)) for lag in range(config.staleness)]
    # On-policy the old log-probs are the ones of the training pass; otherwise they must be taken before the weights move.
    old = [None] * len(steps) if config.staleness == 1 else [_score(policy, batches) for batches in steps]
    totals = {"loss": 0.0, "kl": 0.0, "clip_fraction": 0.0, "grad_norm": 0.0}
    taken = 0
    for batches, old_logprobs in zip(steps, old, strict=True):
        denominator = sum_over_ranks({"tokens": sum(int(b.response_mask_BT.sum()) for b in batches if b.has_signal)})["tokens"]
        if denominator == 0:
            continue
        sums = _optimizer_step(policy, reference, batches, old_logprobs, denominator, config, metrics)
        totals = {name: total + sums[name] for name, total in totals.items()}
        metrics.num_tokens += int(denominator)
        taken += 1
    metrics.optimizer_steps = policy.optimizer_steps
    metrics.logprob_gap = sum_or_max_over_ranks(metrics.logprob_gap, policy.device, dist.ReduceOp.MAX)
    if taken:
        metrics.loss, metrics.clip_fraction = totals["loss"] / taken, totals["clip_fraction"] / taken
        metrics.grad_norm = totals["grad_norm"] / taken
        metrics.kl = totals["kl"] / taken if reference else None
    return metrics


@torch.no_grad()
def _score(policy: Policy, batches: list[PaddedBatch]) -> list[torch.Tensor]:
    return [policy.logprobs(batch) for batch in batches]


def _optimizer_step(
    policy: Policy,
    reference: Reference | None,
    batches: list[PaddedBatch],
    old_logprobs: list[torch.Tensor] | None,
    denominator: float,
    config: TrainConfig,
    metrics: UpdateMetrics,
) -> dict[str, float]:
    sums = {"loss": 0.0, "kl": 0.0, "clip_fraction": 0.0}
    for number, batch in enumerate(batches):
        logprobs_BT = policy.logprobs(batch)
        old_BT = logprobs_BT.detach() if old_logprobs is None else old_logprobs[number]
        metrics.logprob_gap = float(np.maximum(metrics.logprob_gap, _largest_gap(old_BT, batch)))
        loss, parts = policy_loss(
            logprobs_BT, old_BT, batch.advantages_B, batch.response_mask_BT, config.clip_low, config.clip_high, denominator
        )
        if reference:
            kl_BT = k3_kl(logprobs_BT, reference.logprobs(batch)) * batch.response_mask_BT
            kl = kl_BT[batch.signal_B].sum() / denominator
            loss = loss + config.kl_coefficient * kl
            sums["kl"] += float(kl.detach())
        sums["loss"] += float(loss.detach())
        sums["clip_fraction"] += float(parts["clip_fraction"])
        policy.backward(loss, is_last=number == len(batches) - 1)
    return {**sum_over_ranks(sums), "grad_norm": policy.step()}


def _largest_gap(trainer_BT: torch.Tensor, batch: PaddedBatch) -> float:
    """Largest |engine - trainer| log-prob of the tokens that the engine sampled with these very weights."""
    gap_BT = (trainer_BT - batch.engine_logprobs_BT).abs() * batch.response_mask_BT
    return float(gap_BT[batch.signal_B].max()) if batch.has_signal else 0.0
