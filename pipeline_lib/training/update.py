"""The optimiser steps on one batch of rollouts: the policy loss over micro-batches, optionally with a KL to the base.

Shape suffixes: B sequences of a micro-batch, T padded tokens.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from pipeline_lib.config import RunConfig, TrainConfig
from pipeline_lib.grpo import LossSettings, aggregate, k3_kl, loss_denominator, policy_loss
from pipeline_lib.messages.finite import NotFiniteError, not_finite, stop_for
from pipeline_lib.training.batches import PaddedBatch
from pipeline_lib.training.groups import RolloutGroups
from pipeline_lib.training.policy import Policy, ResponseLogprobs, load_causal_lm
from pipeline_lib.training.ranks import first_problem, largest, sum_each


@dataclass(slots=True)
class UpdateMetrics:
    """Of all optimiser steps of a batch, over all ranks. None: no step was taken, since no group had a signal.

    loss is that of the loss aggregation; kl and the fractions are means over tokens, whatever the aggregation.
    """

    num_tokens: int = 0
    loss: float | None = None
    kl: float | None = None
    clip_fraction: float | None = None
    grad_norm: float | None = None
    logprob_gap: float = 0.0
    learning_rate: float = 0.0
    optimizer_steps: int = 0  # since the beginning of the training
    batch_optimizer_steps: int = 0
    engine_ratio_capped_fraction: float | None = None  # None, too, without the correction


class Reference:
    """The frozen base model, for the KL."""

    def __init__(self, config: RunConfig, base_folder: str) -> None:
        causal_lm = load_causal_lm(base_folder, config.model_revision, config.compute.precision)
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

    Skipping matters: Adam's momentum would move the weights even with zero gradients. Raises NotFiniteError, on all ranks and before
    the optimiser moves a weight, for a log-prob, ratio, loss or gradient that is not finite.
    """
    metrics = UpdateMetrics(learning_rate=policy.learning_rate)
    settings = LossSettings.of(config)
    steps = [policy.micro_batches(groups.sequences(lag)) for lag in range(config.staleness)]
    # On-policy the old log-probs are the ones of the training pass; otherwise they must be taken before the weights move.
    old = [None] * len(steps) if config.staleness == 1 else [_score(policy, batches) for batches in steps]
    totals = dict.fromkeys(("loss", "kl", "clip_fraction", "engine_ratio_capped_fraction", "grad_norm"), 0.0)
    for batches, old_logprobs in zip(steps, old, strict=True):
        lengths = [length for batch in batches for length in _mask(batch).sum(dim=1)[batch.signal_B].tolist()]
        size = sum_each({"denominator": loss_denominator(lengths, settings), "num_tokens": sum(lengths)})
        if size["denominator"] == 0:
            continue
        loss_of = _Loss(settings, reference, config.kl_coefficient, **size)
        sums = _optimizer_step(policy, batches, old_logprobs, loss_of, metrics)
        totals = {name: total + sums[name] for name, total in totals.items()}
        metrics.num_tokens += int(size["num_tokens"])
        metrics.batch_optimizer_steps += 1
    metrics.optimizer_steps = policy.optimizer_steps
    metrics.logprob_gap = largest(metrics.logprob_gap)
    if taken := metrics.batch_optimizer_steps:
        metrics.loss, metrics.clip_fraction = totals["loss"] / taken, totals["clip_fraction"] / taken
        metrics.grad_norm = totals["grad_norm"] / taken
        metrics.kl = totals["kl"] / taken if reference else None
        capped = totals["engine_ratio_capped_fraction"] / taken
        metrics.engine_ratio_capped_fraction = capped if config.engine_ratio_cap is not None else None
    return metrics


@dataclass(frozen=True, slots=True)
class _Loss:
    """The loss of a micro-batch as its part of one optimiser step, whose denominator and tokens span all ranks."""

    settings: LossSettings
    reference: Reference | None
    kl_coefficient: float
    denominator: float
    num_tokens: float

    def __call__(
        self, batch: PaddedBatch, logprobs_BT: torch.Tensor, old_BT: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss, and the micro-batch's parts of the step's metrics."""
        mask_BT = _mask(batch)
        loss, parts = policy_loss(
            logprobs_BT, old_BT, batch.advantages_B, mask_BT, self.settings, self.denominator, self.num_tokens,
            batch.engine_logprobs_BT,
        )  # fmt: skip
        kl = 0.0
        if self.reference:
            kl_BT = k3_kl(logprobs_BT, self.reference.logprobs(batch))
            loss = loss + self.kl_coefficient * aggregate(kl_BT, mask_BT, self.settings, self.denominator)
            kl = float((kl_BT.detach() * mask_BT).sum() / self.num_tokens)
        return loss, {"loss": float(loss.detach()), "kl": kl, **{name: float(part) for name, part in parts.items()}}


@torch.no_grad()
def _score(policy: Policy, batches: list[PaddedBatch]) -> list[torch.Tensor]:
    return [policy.logprobs(batch) for batch in batches]


def _optimizer_step(
    policy: Policy,
    batches: list[PaddedBatch],
    old_logprobs: list[torch.Tensor] | None,
    loss_of: _Loss,
    metrics: UpdateMetrics,
) -> dict[str, float]:
    sums: dict[str, float] = {}
    problem: str | None = None
    for number, batch in enumerate(batches):
        logprobs_BT = policy.logprobs(batch)
        old_BT = logprobs_BT.detach() if old_logprobs is None else old_logprobs[number]
        metrics.logprob_gap = float(np.maximum(metrics.logprob_gap, _largest_gap(old_BT, batch)))
        loss, parts = loss_of(batch, logprobs_BT, old_BT)
        sums = {name: sums.get(name, 0.0) + part for name, part in parts.items()}
        problem = problem or _loss_problem(batch, logprobs_BT.detach(), old_BT, parts)
        policy.backward(loss, is_last=number == len(batches) - 1)
    stop_for(first_problem(problem))
    norm = policy.step()
    if norm is None:
        labels = [label for batch in batches for label in batch.labels if label]
        told = (
            f"the gradient is not finite, though the loss is; it is that of {len(labels)} rollouts: {labels[0]} ..."
            if labels
            else None
        )
        raise NotFiniteError(first_problem(told))
    return {**sum_each(sums), "grad_norm": norm}


def _loss_problem(batch: PaddedBatch, logprobs_BT: torch.Tensor, old_BT: torch.Tensor, parts: dict[str, float]) -> str | None:
    """What in a micro-batch makes a part of the loss not finite, and of which rollout; None when all are finite."""
    bad = [f"{name} = {value}" for name, value in parts.items() if not math.isfinite(value)]
    if not bad:
        return None
    suspects = {
        "the trainer's log-prob": logprobs_BT,
        "the log-prob before the update": old_BT,
        "the importance ratio": (logprobs_BT - old_BT).exp(),
        "the advantage": batch.advantages_B.unsqueeze(1).expand_as(logprobs_BT),
    }
    for what, values_BT in suspects.items():
        values_BT = values_BT.masked_fill(~_mask(batch), 0.0)
        if problem := not_finite(values_BT.float().cpu().numpy(), what, lambda row, token: f"a token of {batch.labels[row]}"):
            return problem
    return f"{bad[0]}, with finite log-probs and advantages, over {len(batch.labels)} rollouts: {batch.labels[0]} ..."


def _mask(batch: PaddedBatch) -> torch.Tensor:
    """The response tokens of rollouts, mask_BT: a filler has none."""
    return batch.response_mask_BT & batch.signal_B.unsqueeze(1)


def _largest_gap(trainer_BT: torch.Tensor, batch: PaddedBatch) -> float:
    """Largest |engine - trainer| log-prob of the tokens that the engine sampled with these very weights."""
    gap_BT = (trainer_BT - batch.engine_logprobs_BT).abs() * batch.response_mask_BT
    return float(gap_BT[batch.signal_B].max()) if batch.has_signal else 0.0
