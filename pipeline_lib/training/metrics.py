"""What a training step is measured by: the columns of `training_steps`, summed over ranks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from pipeline_lib.records import TrainingStep
from pipeline_lib.training.groups import RolloutGroups
from pipeline_lib.training.ranks import largest, sum_each
from pipeline_lib.training.update import UpdateMetrics


@dataclass(frozen=True, slots=True)
class Validation:
    """Held-out figures of a checkpoint: accuracy within L_T, mean length in tokens, accuracy whatever the length; None: not taken."""

    accuracy: float | None = None
    mean_tokens: float | None = None
    full_accuracy: float | None = None


class StepClock:
    """Wall seconds of one step by part; what no part claims is the rest."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._parts: dict[str, float] = {}
        self.seconds_generating = 0.0

    def generated(self, seconds: float) -> None:
        """What the step is trained on took so long to generate, whether the step has waited for it or not."""
        self.seconds_generating += seconds

    def add(self, part: str, seconds: float) -> None:
        """Count seconds towards a part."""
        self._parts[part] = self._parts.get(part, 0.0) + seconds

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Count the seconds of a block towards a part."""
        started = time.perf_counter()
        yield
        self.add(part, time.perf_counter() - started)

    def seconds(self, part: str) -> float:
        """Seconds counted towards a part so far."""
        return self._parts.get(part, 0.0)

    def rest(self) -> float:
        """Seconds since the start that no part claims."""
        return time.perf_counter() - self._started - sum(self._parts.values())


def measure(
    run_id: str,
    step: int,
    groups: RolloutGroups,
    update: UpdateMetrics,
    parity_gap: float,
    clock: StepClock,
    target_tokens: float,
) -> TrainingStep:
    """The row of one step before any checkpoint; times are rank 0's. Two collectives.

    `entropy` is the mean of -log p over all sampled tokens: unbiased, and free.
    """
    sums = sum_each(_sums(groups))
    num, groups_in_all = sums["num"], sums["num"] / groups.num_rollouts
    incorrect = num - sums["correct"]
    return TrainingStep(
        run_id=run_id,
        step=step,
        reward_mean=sums["reward"] / num,
        accuracy=sums["correct"] / num,
        mean_tokens=sums["tokens"] / num,
        mean_tokens_correct=sums["tokens_correct"] / sums["correct"] if sums["correct"] else None,
        mean_tokens_incorrect=(sums["tokens"] - sums["tokens_correct"]) / incorrect if incorrect else None,
        entropy=-sums["logprob"] / sums["tokens"],
        truncated_fraction=sums["truncated"] / num,
        positive_fraction=sums["positive"] / num,
        zero_variance_fraction=sums["zero_variance"] / groups_in_all,
        kl=update.kl,
        grad_norm=update.grad_norm,
        loss=update.loss,
        clip_fraction=update.clip_fraction,
        learning_rate=update.learning_rate,
        logprob_gap=float(np.maximum(update.logprob_gap, parity_gap)),
        policy_lag=sums["policy_lag"] / max(sums["used"], 1.0),
        optimizer_steps=update.optimizer_steps,
        num_rollouts=int(num),
        tokens_per_second=sums["tokens"] / clock.seconds_generating,
        generation_seconds=clock.seconds("generation"),
        update_seconds=clock.seconds("update"),
        sync_seconds=clock.seconds("sync"),
        checkpoint_seconds=0.0,
        other_seconds=clock.rest(),
        target_tokens=target_tokens,
        masked_fraction=sums["masked"] / num,
        batch_optimizer_steps=update.batch_optimizer_steps,
        largest_policy_lag=int(largest(max(groups.policy_lag_P, default=0))),
        batches_drawn=groups.batches_drawn,
        engine_ratio_capped_fraction=update.engine_ratio_capped_fraction,
        logprob_gap_mean=update.logprob_gap_mean,
        logprob_gap_k3=update.logprob_gap_k3,
        logprob_gap_p999=update.logprob_gap_p999,
        engine_ratio_outside_fraction=update.engine_ratio_outside_fraction,
        answered_fraction=sums["answered"] / num,
    )


def _sums(groups: RolloutGroups) -> dict[str, float]:
    outcomes = groups.outcomes()
    lengths_PN, correct_PN = outcomes.lengths_PN, outcomes.correct_PN
    return {
        "num": lengths_PN.size,
        "correct": correct_PN.sum(),
        "tokens": lengths_PN.sum(),
        "tokens_correct": lengths_PN[correct_PN].sum(),
        "logprob": sum(sum(sample.completion.logprobs) for sample in groups.samples),
        "answered": sum(
            sample.grade.answer is not None and sample.completion.finish_reason == "stop" for sample in groups.samples
        ),
        "truncated": (~outcomes.finished_PN).sum(),
        "reward": float(groups.rewards_PN.sum()),
        "positive": float((groups.rewards_PN > 0).sum()),
        "policy_lag": np.array(groups.policy_lag_P)[groups.used_P.numpy()].sum(),
        "used": float(groups.used_P.sum()),
        "zero_variance": float((groups.rewards_PN.amax(dim=1) == groups.rewards_PN.amin(dim=1)).sum()),
        "masked": float((~groups.kept_PN).sum()),
    }
