"""Weights on their way to engines elsewhere: packed as arrays that an object store shares without copies, or coming by themselves."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import torch

    from pipeline_lib.generation.checksums import Checksums

# Name, torch's name of the number format, shape, bytes.
Packed = list[tuple[str, str, tuple[int, ...], np.ndarray]]


@dataclass(frozen=True, slots=True)
class Coming:
    """Weights that a trainer sends from GPU to GPU: what vLLM must know of them before, and their checksums."""

    info: dict[str, Any]
    sent: "Checksums"


@runtime_checkable
class Receiver(Protocol):
    """An engine apart from its trainer, which takes weights over by vLLM's transfer."""

    def connect(self, init_info: dict[str, Any]) -> None:
        """Join the group in which a trainer sends from GPU to GPU; returns when all have."""
        ...

    def receive(self, weights: Packed | Coming, version: str) -> str:
        """See `Generator.load_weights`."""
        ...


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
