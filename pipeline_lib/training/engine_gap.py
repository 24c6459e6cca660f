"""How far the engine's log-probs are from the trainer's over the tokens of a step: sums that add up over micro-batches and ranks.

Of a token, d is trainer minus engine log-prob, and its ratio exp(d). Shape suffixes: B sequences, T padded tokens.
"""

from dataclasses import dataclass

import torch

from pipeline_lib.training.batches import PaddedBatch

# Edges of the histogram of |d|, 2.3 % apart: a quantile over all ranks needs no more than its counts.
SMALLEST, LARGEST, NUM_EDGES = 1e-8, 1e2, 1001
HIGH_QUANTILE = 0.999
LARGEST_RATIO = 2.0


@dataclass(frozen=True, slots=True)
class EngineGap:
    """Means over tokens of |d| and of k3 = ratio - d - 1, the 99.9 % quantile of |d|, and the share of ratios outside [1/2, 2]."""

    mean: float | None = None
    k3: float | None = None
    p999: float | None = None
    outside_fraction: float | None = None

    @classmethod
    def of(cls, sums: torch.Tensor) -> "EngineGap":
        """From sums of `gap_sums`; all None for no tokens."""
        (num, distance, k3, outside), counts = sums[:4].tolist(), sums[4:].cpu()
        if num == 0:
            return cls()
        place = int(torch.searchsorted(counts.cumsum(0), HIGH_QUANTILE * num))
        return cls(distance / num, k3 / num, float(_edges()[min(place, NUM_EDGES - 1)]), outside / num)


def gap_sums(trainer_BT: torch.Tensor, batch: PaddedBatch) -> torch.Tensor:
    """Of the tokens of a micro-batch, fillers left out: their number, sums of |d|, k3 and ratios outside, and a histogram of |d|.

    The trainer's log-probs must be those of the weights that the engine sampled with. float64, on the batch's device.
    """
    mask_BT = batch.response_mask_BT & batch.signal_B.unsqueeze(1)
    d = (trainer_BT - batch.engine_logprobs_BT)[mask_BT].double()
    distance, edges = d.abs(), _edges().to(d.device)
    outside = distance > torch.tensor(LARGEST_RATIO).log()
    sums = [torch.tensor(float(d.numel()), device=d.device), distance.sum(), (torch.expm1(d) - d).sum(), outside.sum()]
    counts = torch.bincount(torch.bucketize(distance, edges), minlength=NUM_EDGES + 1)
    return torch.cat([torch.stack([value.double() for value in sums]), counts.double()])


def _edges() -> torch.Tensor:
    low, high = torch.tensor([SMALLEST, LARGEST], dtype=torch.float64).log10().tolist()
    return torch.logspace(low, high, NUM_EDGES, dtype=torch.float64)
