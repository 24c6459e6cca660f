"""The ranks of a launcher's process group, and everything that they tell each other: the only place with collectives.

All ranks must call a collective, in the same order. Without a group, and in a group of one, each gives its own value back.
"""

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from pipeline_lib.generation.protocol import EngineRanks

# Ranks wait for each other through whole generations of long rollouts, whose length nobody knows before the first.
LONGEST_WAIT = timedelta(hours=6)
SHORTEST_WAIT = timedelta(minutes=10)
WAIT_FACTOR = 3

T = TypeVar("T")


def init_distributed() -> tuple[int, int]:
    """Join the launcher's group (gloo on CPU, nccl on GPU, which DeepSpeed and vLLM then share), or one of this process alone.

    Returns (rank, world size).
    """
    if "RANK" not in os.environ:
        os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")  # 0: a free one
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=LONGEST_WAIT)
    return rank(), world_size()


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """The number of ranks."""
    return dist.get_world_size() if dist.is_initialized() else 1


def wait_at_most(wait: timedelta = LONGEST_WAIT) -> None:
    """How long this rank waits for another in a collective of any group, those that DeepSpeed made for itself included.

    After that gloo raises in the collective, and nccl's watchdog ends the process.
    """
    for group in distributed_c10d._world.pg_map:
        distributed_c10d._set_pg_timeout(wait, group)


class Patience:
    """How long the ranks wait for each other in a phase of training: a multiple of the longest that it has taken so far."""

    def __init__(self) -> None:
        self._longest: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A block in which a rank that does not come is given up; the first of its name may take as long as any."""
        longest, started = self._longest.get(name), time.monotonic()
        wait_at_most(LONGEST_WAIT if longest is None else max(SHORTEST_WAIT, WAIT_FACTOR * timedelta(seconds=longest)))
        yield
        self._longest[name] = max(longest or 0.0, time.monotonic() - started)


def own_share(items: Sequence[T]) -> Sequence[T]:
    """Every n-th of what all ranks hold alike: together the ranks' shares are the whole."""
    return items[rank() :: world_size()]


def barrier() -> None:
    """Wait for all ranks."""
    if world_size() > 1:
        dist.barrier()


def gather(value: T) -> list[T]:
    """Every rank's value, by rank."""
    values = [value] * world_size()
    if len(values) > 1:
        dist.all_gather_object(values, value)
    return values


def take_from_first(tensor: torch.Tensor) -> None:
    """Overwrite a tensor, on the device, with that of rank 0."""
    if world_size() > 1:
        dist.broadcast(tensor, 0)


def first_problem(problem: str | None) -> str | None:
    """The problem of the lowest rank that has one, told to all: a rank that stops alone leaves the others waiting for it."""
    return next((each for each in gather(problem) if each is not None), None)


def generation_group(tensor_parallel: int) -> EngineRanks:
    """The ranks that share this rank's engine, `tensor_parallel` neighbours; a collective that makes a group of their own.

    The group is gloo's: what engines tell each other between their runs is Python objects, not tensors.
    """
    firsts = range(0, world_size(), tensor_parallel)
    groups = [dist.new_group(list(range(first, first + tensor_parallel)), backend="gloo") for first in firsts]
    own = groups[rank() // tensor_parallel]

    def gather_in_group(value: Any) -> list[Any]:
        values = [None] * tensor_parallel
        dist.all_gather_object(values, value, group=own)
        return values

    return EngineRanks(rank() % tensor_parallel, gather_in_group)


def sum_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """The element-wise sum of all ranks' tensors."""
    return _reduce(tensor, dist.ReduceOp.SUM)


def sum_each(values: dict[str, float]) -> dict[str, float]:
    """Each value summed over all ranks, in one collective."""
    sums = sum_tensor(torch.tensor([float(value) for value in values.values()], dtype=torch.float64))
    return dict(zip(values, sums.tolist(), strict=True))


def largest(value: float) -> float:
    """The largest of all ranks' numbers; NaN counts as infinite: a collective may drop it, and what it says is as bad."""
    own = torch.tensor(math.inf if math.isnan(value) else float(value), dtype=torch.float64)
    return float(_reduce(own, dist.ReduceOp.MAX))


def _reduce(tensor: torch.Tensor, operation: dist.ReduceOp.RedOpType) -> torch.Tensor:
    if world_size() == 1:
        return tensor
    shared = tensor.to("cuda" if torch.cuda.is_available() else "cpu", copy=True)
    dist.all_reduce(shared, op=operation)
    return shared.to(tensor.device)
