"""Weights on their way from the trainer to the engines, as arrays that an object store shares without copies.

The one place to change for a transfer from GPU to GPU: `vllm.distributed.weight_transfer` (nccl, ipc) takes the same named tensors.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

# Name, torch's name of the number format, shape, bytes.
Packed = list[tuple[str, str, tuple[int, ...], np.ndarray]]


def pack(named_weights: Iterable[tuple[str, "torch.Tensor"]]) -> Packed:
    """Whole weights in the memory of the CPU; those that are there already are not copied."""
    import torch

    packed: Packed = []
    for name, weight in named_weights:
        content = weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        packed.append((name, str(weight.dtype).removeprefix("torch."), tuple(weight.shape), content))
    return packed


def unpack(packed: Packed) -> Iterator[tuple[str, "torch.Tensor"]]:
    """The weights again, one after another, each a copy: what an object store shares cannot be written."""
    import torch

    for name, dtype, shape, content in packed:
        yield name, torch.from_numpy(content.copy()).view(getattr(torch, dtype)).reshape(shape)
