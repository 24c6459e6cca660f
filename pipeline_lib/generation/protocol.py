"""What every engine offers: sample completions for token-id prompts, take over new weights, close."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline_lib.records import Completion

if TYPE_CHECKING:
    import torch

# (number of the prompt, its completion)
OnFinished = Callable[[int, Completion], None]
# Prompts and seeds that have come meanwhile.
More = Callable[[], list[tuple[list[int], int]]]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample. `limit_tokens` counts the end token; temperature 1 and top_p 1 give the model's own distribution."""

    limit_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class EngineRanks:
    """The ranks that share one engine: this one's place among them, and its value gathered with theirs, by place."""

    place: int = 0
    gather: Callable[[Any], list[Any]] = lambda value: [value]


class Generator(Protocol):
    """An engine that holds one model and generates with it, in this process."""

    def generate(
        self,
        prompts: Sequence[list[int]],
        sampling: Sampling,
        seeds: Sequence[int],
        on_finished: OnFinished | None = None,
        more: More | None = None,
    ) -> list[Completion]:
        """One completion per prompt, in order; `seeds[i]` fixes the draws of prompt i.

        `on_finished(i, completion)` hands over that of prompt i as soon as it is there; the short ones come first. `more` is asked
        again and again: what it gives is generated along, under the numbers that follow; what it raises ends the rest.
        """
        ...

    def load_weights(self, named_weights: Iterable[tuple[str, "torch.Tensor"]], version: str) -> str:
        """Replace the weights in place by tensors under their Hugging Face names, and wake a sleeping engine.

        Returns a digest of what the engine then holds, the same for all engines. Raises ParityError when these are other values.
        """
        ...

    def load_folder(self, folder: Path) -> str:
        """The same with the weights of a model folder of the same architecture, whose path is their version."""
        ...

    def sleep(self) -> None:
        """Leave the accelerator's memory to others, where the engine can, until weights are loaded; the old ones are then lost."""
        ...

    def drain(self) -> None:
        """Where ranks share an engine: take part in what the others still generate, until all of them drain."""
        ...

    def close(self) -> None:
        """Release the engine's memory."""
        ...


def rollout_seed(*parts: object) -> int:
    """A seed in [0, 2^63) that depends on all parts, so that a resumed run draws the same.

    The parts of a rollout are the run's seed, stage, step (in training the number of the batch), prompt and sample. What else is
    drawn in a run, and by which seed: docs/explanation/code.md.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
