"""The process group of the launcher's ranks, joined the same way for generation and for training."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist

# Ranks wait for each other through whole generations of long rollouts.
COLLECTIVE_TIMEOUT = timedelta(hours=6)


def init_distributed() -> tuple[int, int]:
    """Join the launcher's group (gloo on CPU, nccl on GPU, which DeepSpeed and vLLM then share); return (rank, world size)."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=COLLECTIVE_TIMEOUT)
    return dist.get_rank(), dist.get_world_size()


def barrier() -> None:
    """Wait for all ranks."""
    dist.barrier()


def first_problem(problem: str | None) -> str | None:
    """The problem of the lowest rank that has one, told to all: a rank that stops alone leaves the others waiting for it."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return problem
    problems: list[str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(problems, problem)
    return next((each for each in problems if each is not None), None)
