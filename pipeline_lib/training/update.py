"""The optimiser steps on one batch of rollouts: the policy loss over micro-batches, optionally with a KL to the base.

Shape suffixes: B sequences of a micro-batch, T padded tokens.
"""

import math
from dataclasses import dataclass

import deepspeed
import numpy as np
import torch

from pipeline_lib.config import RunConfig, TrainConfig
from pipeline_lib.grpo import aggregate, k3_kl, loss_denominator, policy_loss
from pipeline_lib.messages.finite import NotFiniteError, not_finite, stop_for
from pipeline_lib.training.batches import PaddedBatch
from pipeline_lib.training.engine_gap import EngineGap, gap_sums
from pipeline_lib.training.groups import RolloutGroups, balanced_share
from pipeline_lib.training.model import ResponseLogprobs, deepspeed_settings, load_causal_lm
from pipeline_lib.training.policy import Policy
from pipeline_lib.training.ranks import first_problem, largest, sum_each, sum_tensor


@dataclass(frozen=True, slots=True)
class UpdateMetrics:
    """Of all optimiser steps of a batch, over all ranks. None: no step was taken, since no group had a signal.

    loss is that of the loss aggregation; kl and the fractions are means over tokens, whatever the aggregation.
    """

    num_tokens: int
    loss: float | None
    kl: float | None
    clip_fraction: float | None
    grad_norm: float | None
    logprob_gap: float
    logprob_gap_mean: float | None
    logprob_gap_k3: float | None
    logprob_gap_p999: float | None
    engine_ratio_outside_fraction: float | None
    learning_rate: float
    optimizer_steps: int  # since the beginning of the training run
    batch_optimizer_steps: int
    engine_ratio_capped_fraction: float | None  # None, too, without the correction


class Reference:
    """The frozen base model, for the KL: a model of its own, or under LoRA that of the policy without its adapters."""

    def __init__(self, config: RunConfig, base_folder: str, policy: Policy | None = None) -> None:
        self._policy = policy if config.train.lora else None
        if self._policy:
            return
        causal_lm = load_causal_lm(base_folder, config.model_revision, config.compute)
        self._module = ResponseLogprobs(causal_lm, config.train.temperature).requires_grad_(False)
        if config.compute.zero_stage == 3:
            self._module, *_ = deepspeed.initialize(model=self._module, config=deepspeed_settings(config.compute))

    @torch.no_grad()
    def logprobs(self, batch: PaddedBatch) -> torch.Tensor:
        """Log-probs of the response tokens under the base model, logprobs_BT."""
        if self._policy:
            return self._policy.base_logprobs(batch)
        result: torch.Tensor = self._module(batch.input_ids_BT, batch.response_mask_BT)
        return result


def update_policy(policy: Policy, reference: Reference | None, groups: RolloutGroups, config: TrainConfig) -> UpdateMetrics:
    """Take S optimiser steps on a batch, each on its share of the groups; one without any signal is not taken.

    Skipping matters: Adam's momentum would move the weights even with zero gradients. Raises NotFiniteError, on all ranks and before
    the optimiser moves a weight, for a log-prob, ratio, loss or gradient that is not finite.
    """
    learning_rate = policy.learning_rate
    steps = [policy.micro_batches(balanced_share(groups.sequences(share))) for share in range(config.staleness)]
    # For S = 1 the old log-probs are the ones of the training pass; otherwise they must be taken before the weights move. Against the
    # policy that sampled, which may be older than the batch, each token is weighed by the truncated ratio (engine_ratio_cap).
    old = [None] * len(steps) if config.staleness == 1 else [_score(policy, batches) for batches in steps]
    taken: list[dict[str, float]] = []
    gaps: list[torch.Tensor] = []
    for batches, old_logprobs in zip(steps, old, strict=True):
        lengths = [length for batch in batches for length in _mask(batch).sum(dim=1)[batch.signal_B].tolist()]
        size = sum_each({"denominator": loss_denominator(lengths, config), "num_tokens": sum(lengths)})
        if size["denominator"] > 0:
            taken.append({**size, **_optimizer_step(policy, batches, old_logprobs, _Loss(config, reference, **size), gaps)})

    def mean(name: str, is_measured: bool = True) -> float | None:
        return sum(step[name] for step in taken) / len(taken) if taken and is_measured else None

    # Against older weights it is the policy that has moved, not the engine that is wrong.
    gap = EngineGap.of(sum_tensor(torch.stack(gaps).sum(0))) if gaps and not groups.age else EngineGap()
    return UpdateMetrics(
        num_tokens=int(sum(step["num_tokens"] for step in taken)),
        loss=mean("loss"),
        kl=mean("kl", reference is not None),
        clip_fraction=mean("clip_fraction"),
        grad_norm=mean("grad_norm"),
        logprob_gap=0.0 if groups.age else largest(float(np.max([0.0, *(step["logprob_gap"] for step in taken)]))),
        logprob_gap_mean=gap.mean,
        logprob_gap_k3=gap.k3,
        logprob_gap_p999=gap.p999,
        engine_ratio_outside_fraction=gap.outside_fraction,
        learning_rate=learning_rate,
        optimizer_steps=policy.optimizer_steps,
        batch_optimizer_steps=len(taken),
        engine_ratio_capped_fraction=mean("engine_ratio_capped_fraction", config.engine_ratio_cap is not None),
    )


@dataclass(frozen=True, slots=True)
class _Loss:
    """The loss of a micro-batch as its part of one optimiser step, whose denominator and tokens span all ranks."""

    config: TrainConfig
    reference: Reference | None
    denominator: float
    num_tokens: float

    def __call__(
        self, batch: PaddedBatch, logprobs_BT: torch.Tensor, old_BT: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss, and the micro-batch's parts of the step's metrics, detached."""
        mask_BT = _mask(batch)
        loss, parts = policy_loss(
            logprobs_BT, old_BT, batch.advantages_B, mask_BT, self.config, self.denominator, self.num_tokens,
            batch.engine_logprobs_BT,
        )  # fmt: skip
        kl = loss.new_zeros(())
        if self.reference:
            kl_BT = k3_kl(logprobs_BT, self.reference.logprobs(batch))
            loss = loss + self.config.kl_coefficient * aggregate(kl_BT, mask_BT, self.config, self.denominator)
            kl = (kl_BT.detach() * mask_BT).sum() / self.num_tokens
        return loss, {"loss": loss.detach(), "kl": kl, **parts}


@torch.no_grad()
def _score(policy: Policy, batches: list[PaddedBatch]) -> list[torch.Tensor]:
    return [policy.logprobs(batch) for batch in batches]


def _optimizer_step(
    policy: Policy,
    batches: list[PaddedBatch],
    old_logprobs: list[torch.Tensor] | None,
    loss_of: _Loss,
    gaps: list[torch.Tensor],
) -> dict[str, float]:
    """Take one step; its sums over the micro-batches of all ranks, its gradient norm, and this rank's largest log-prob gap.

    The sums of this rank's log-prob gaps are put into `gaps`.
    """
    rows, problem = _accumulate(policy, batches, old_logprobs, loss_of, gaps)
    gap = float(np.max([row.pop("logprob_gap") for row in rows]))
    sums = {name: sum(row[name] for row in rows) for name in rows[0]}
    stop_for(first_problem(problem))
    norm = policy.step()
    if norm is None:
        labels = [label for batch in batches for label in batch.labels if label]
        told = "the gradient is not finite, though the loss is; it is that of"
        raise NotFiniteError(first_problem(f"{told} {len(labels)} rollouts: {labels[0]} ..." if labels else None))
    return {**sum_each(sums), "grad_norm": norm, "logprob_gap": gap}


def _accumulate(
    policy: Policy,
    batches: list[PaddedBatch],
    old_logprobs: list[torch.Tensor] | None,
    loss_of: _Loss,
    gaps: list[torch.Tensor],
) -> tuple[list[dict[str, float]], str | None]:
    """The gradients of all micro-batches; the figures of each, its largest log-prob gap among them, and what is wrong with the loss.

    The figures are read at the end, at once: for each of them a GPU would have to finish what has been launched.
    """
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    figures: list[dict[str, torch.Tensor]] = []
    for number, batch in enumerate(batches):
        logprobs_BT = policy.logprobs(batch)
        old_BT = logprobs_BT.detach() if old_logprobs is None else old_logprobs[number]
        gaps.append(gap_sums(old_BT, batch))
        loss, parts = loss_of(batch, logprobs_BT, old_BT)
        seen.append((logprobs_BT.detach(), old_BT))
        figures.append({**parts, "logprob_gap": _largest_gap(old_BT, batch)})
        policy.backward(loss, is_last=number == len(batches) - 1)
    values = torch.stack([torch.stack([value.double() for value in each.values()]) for each in figures]).tolist()
    rows = [dict(zip(figures[0], row, strict=True)) for row in values]
    problems = (_loss_problem(batch, *both, row) for batch, both, row in zip(batches, seen, rows, strict=True))
    return rows, next((problem for problem in problems if problem), None)


def _loss_problem(batch: PaddedBatch, logprobs_BT: torch.Tensor, old_BT: torch.Tensor, parts: dict[str, float]) -> str | None:
    """What in a micro-batch makes a part of the loss not finite, and of which rollout; None when all are finite."""
    bad = [f"{name} = {value}" for name, value in parts.items() if not math.isfinite(value) and name != "logprob_gap"]
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


def _largest_gap(trainer_BT: torch.Tensor, batch: PaddedBatch) -> torch.Tensor:
    """Largest |engine - trainer| log-prob of the tokens that the engine sampled with these very weights."""
    return torch.where(_mask(batch), (trainer_BT - batch.engine_logprobs_BT).abs(), 0.0).max()
