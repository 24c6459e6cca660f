"""One engine over several ranks: each asks for completions of its own, and all of them run what all have asked for.

A tensor-parallel engine must be given the same requests in the same order on each of its ranks. Draws depend on a request's seed
alone, so what a rank gets does not depend on what the others ask for.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_lib.generation.protocol import EngineRanks, Generator, More, OnFinished, Sampling
from pipeline_lib.records import Completion

if TYPE_CHECKING:
    import torch


class SharedGenerator:
    """A rank's access to an engine that it shares with others.

    A call of `generate` lasts until all of these ranks have called it, or drain.
    """

    def __init__(self, engine: Generator, ranks: EngineRanks) -> None:
        self._engine, self._ranks = engine, ranks

    def generate(
        self,
        prompts: Sequence[list[int]],
        sampling: Sampling,
        seeds: Sequence[int],
        on_finished: OnFinished | None = None,
        more: More | None = None,
    ) -> list[Completion]:
        """See `Generator.generate`; `on_finished` hears of this rank's requests alone."""
        assert more is None, "the ranks of an engine agree on its requests beforehand"
        return self._generate_together((sampling, list(prompts), list(seeds)), on_finished) or []

    def _generate_together(
        self, asked: tuple[Sampling, list[list[int]], list[int]] | None, on_finished: OnFinished | None = None
    ) -> list[Completion] | None:
        """This rank's completions; None when all ranks drain."""
        every = self._ranks.gather(asked)
        if not any(every):
            return None
        completions: list[list[Completion]] = [[] for _ in every]
        for sampling in dict.fromkeys(each[0] for each in every if each):
            asking = [place for place, each in enumerate(every) if each and each[0] == sampling]
            prompts = [prompt for place in asking for prompt in every[place][1]]
            seeds = [seed for place in asking for seed in every[place][2]]
            done = iter(self._engine.generate(prompts, sampling, seeds, self._of_own(every, asking, on_finished)))
            for place in asking:
                completions[place] = [next(done) for _ in every[place][2]]
        return completions[self._ranks.place]

    def _of_own(self, every: list[Any], asking: list[int], on_finished: OnFinished | None) -> OnFinished | None:
        """What hears of the requests of all ranks that are `asking`, and hands on those of this one, by its own count."""
        own = self._ranks.place
        if on_finished is None or own not in asking:
            return None
        hear, first = on_finished, sum(len(every[place][2]) for place in asking if place < own)
        numbers = range(first, first + len(every[own][2]))

        def of_all(number: int, completion: Completion) -> None:
            if number in numbers:
                hear(number - first, completion)

        return of_all

    def drain(self) -> None:
        """See `Generator.drain`."""
        while self._generate_together(None) is not None:
            pass

    def load_weights(self, named_weights: Iterable[tuple[str, "torch.Tensor"]], version: str) -> str:
        """See `Generator.load_weights`; on all ranks of the engine."""
        return self._engine.load_weights(named_weights, version)

    def load_folder(self, folder: Path) -> str:
        """See `Generator.load_folder`; on all ranks of the engine."""
        return self._engine.load_folder(folder)

    def sleep(self) -> None:
        """See `Generator.sleep`; on all ranks of the engine."""
        self._engine.sleep()

    def close(self) -> None:
        """See `Generator.close`."""
        self._engine.close()
