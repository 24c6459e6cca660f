"""Checksums that tell whether an engine's tensors are the weights it was sent, however it has laid them out.

A checksum is the sum, modulo 2^64, of a hash of every element's value. A sum knows no order, and a zero adds nothing, so a tensor
that an engine has fused with others, cut over ranks, permuted or padded still has the checksum of what it was made of. What an
engine derives from its tensors and keeps elsewhere is not seen.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import torch

from pipeline_lib.generation.parity import ParityError

MODULUS = 2**64
# Bounds the 64-bit copies that hashing needs, whatever the size of a tensor.
CHUNK_ELEMENTS = 2**23
FIRST_FACTOR, SECOND_FACTOR = -7046029254386353131, -4658895280553007687  # odd, so that no bits are lost

# Name of a tensor → its checksum.
Checksums = Counter[str]


def checksum(tensor: torch.Tensor, dtype: torch.dtype, device: torch.device | None = None) -> int:
    """The checksum of a tensor's values as they are in `dtype`, computed on a device (None: the tensor's)."""
    flat, total = tensor.detach().reshape(-1), 0
    for start in range(0, flat.numel(), CHUNK_ELEMENTS):
        bits = flat[start : start + CHUNK_ELEMENTS].to(device, dtype).float().view(torch.int32).long()
        bits *= FIRST_FACTOR
        bits ^= bits >> 32
        bits *= SECOND_FACTOR
        bits ^= bits >> 29
        total += int(bits.sum())
    return total % MODULUS


def counting(
    named_weights: Iterable[tuple[str, torch.Tensor]], dtype: torch.dtype, sent: Checksums, device: torch.device | None = None
) -> Iterator[tuple[str, torch.Tensor]]:
    """Hand weights on, and put the checksums of what they are in the engine's `dtype` into `sent`."""
    for name, weight in named_weights:
        sent[name] += checksum(weight, dtype, device)
        yield name, weight


def require_sent_weights(
    sent: Checksums, held: Checksums, version: str, fused: Mapping[str, Sequence[str]], unseen: Collection[str] = ()
) -> None:
    """Raise ParityError, which names them, for tensors that an engine `held` when it should hold those `sent` of a version.

    `fused` gives the engine's modules that hold several of the model's; `unseen` are tensors whose values cannot be read.
    """
    sent, held = _joined(sent, fused), _joined(held, fused)
    unseen = {_joined_name(name, fused) for name in unseen}
    common = (sent.keys() & held.keys()) - unseen
    wrong = [name for name in held if name in common and (sent[name] - held[name]) % MODULUS]
    # Names that only one side knows: the same tensors under names of the engine's own, which then agree together.
    left = [{name: value for name, value in each.items() if name not in common | unseen} for each in (sent, held)]
    if unseen <= sent.keys() and (sum(left[0].values()) - sum(left[1].values())) % MODULUS:
        wrong += sorted(left[0].keys() | left[1].keys())
    if wrong:
        raise ParityError(
            f"the engine does not hold the weights of {version}: {len(wrong)} of its {len(held)} tensors have other values: "
            f"{', '.join(wrong[:3])}{' ...' if len(wrong) > 3 else ''}"
        )


def _joined(sums: Checksums, fused: Mapping[str, Sequence[str]]) -> Checksums:
    joined = Checksums()
    for name, value in sums.items():
        joined[_joined_name(name, fused)] += value
    return joined


def _joined_name(name: str, fused: Mapping[str, Sequence[str]]) -> str:
    """The name that a tensor and what an engine fuses it into have in common; the experts of a layer are one."""
    before, experts, _ = name.partition(".experts.")
    if experts:
        return f"{before}.experts"
    for whole, parts in fused.items():
        for part in parts:
            name = name.replace(f".{part}.", f".{whole}.")
    return name


def digest_of(held: Checksums) -> str:
    """One text for all checksums, by which engines are compared."""
    return hashlib.sha256(repr(sorted(held.items())).encode()).hexdigest()[:16]
