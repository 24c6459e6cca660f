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
