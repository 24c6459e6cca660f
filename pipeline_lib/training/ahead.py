"""Batches that are generated, and judged, while earlier ones are trained on (train.batches_ahead = A).

Batch k is dispatched when at most A batches before it are not trained, with the weights of that moment: those after batch k - 1 - A.
Batches are trained whole and in the order of dispatch. None waits for room behind a longer one or is dropped for its age: the long
rollouts would be lost first, a length reward that nobody asked for.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

from pipeline_lib.generation.protocol import Generator, OnFinished, Sampling
from pipeline_lib.generation.sampling import Sample
from pipeline_lib.records import Completion, FleetEvent

# By an engine and the number of a batch: its judged samples on this rank, and the seconds that generation took.
Draw = Callable[[Generator, int], tuple[list[Sample], float]]


@runtime_checkable
class RemoteEngines(Generator, Protocol):
    """Engines elsewhere, which can be given work without waiting for it."""

    def submit(
        self, prompts: Sequence[list[int]], sampling: Sampling, seeds: Sequence[int], batch: int | None = None
    ) -> Callable[[OnFinished | None], list[Completion]]:
        """Begin to generate with the newest weights; what is returned waits for the completions."""
        ...

    def push(self, named_weights: object, version: str) -> None:
        """Send weights to all engines without waiting for them."""
        ...

    def note(self, event: FleetEvent) -> None:
        """Say what this rank has done."""
        ...


@dataclass(frozen=True, slots=True)
class _Batch:
    number: int
    optimizer_steps: int  # those of the weights that generate it
    drawn: "Future[tuple[list[Sample], float]]"


class BatchesAhead:
    """The batches of one rank that have been dispatched and not been taken, of `last` in all."""

    def __init__(self, engines: RemoteEngines, draw: Draw, num_ahead: int, first: int, last: int) -> None:
        self._engines, self._draw, self._num_ahead, self._next, self._last = engines, draw, num_ahead, first, last
        self._batches: deque[_Batch] = deque()
        self._threads = ThreadPoolExecutor(num_ahead + 1, "batch")

    def dispatch(self, num_trained: int, optimizer_steps: int) -> None:
        """Dispatch what may be after `num_trained` batches, with weights that have been pushed after so many optimiser steps."""
        while self._next <= self._last and may_be_dispatched(self._next, num_trained, self._num_ahead):
            engines = _Announcing(self._engines, self._next)
            drawn = self._threads.submit(self._draw, cast(Generator, engines), self._next)
            drawn.add_done_callback(lambda _, engines=engines: engines.is_asked.set())  # type: ignore[misc]
            engines.is_asked.wait()  # before the next weights are pushed
            self._batches.append(_Batch(self._next, optimizer_steps, drawn))
            self._next += 1

    def take(self, number: int) -> tuple[list[Sample], int, float, float]:
        """The oldest batch, which must be that one: samples, optimiser steps of their weights, seconds of generation and of waiting.

        Raises what generating has raised.
        """
        batch, started = self._batches.popleft(), time.perf_counter()
        assert batch.number == number, f"batch {batch.number} is ahead, not {number}"
        samples, seconds = batch.drawn.result()
        return samples, batch.optimizer_steps, seconds, time.perf_counter() - started

    def close(self) -> None:
        """Let go of what is still generated."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def may_be_dispatched(number: int, num_trained: int, num_ahead: int) -> bool:
    """Whether at most `num_ahead` batches before batch `number` (from 1) are not trained."""
    return number - 1 - num_trained <= num_ahead


def for_batch(engine: Generator, number: int) -> Generator:
    """The engine; where it is a fleet's, what it is asked for is noted to be of that batch."""
    return cast(Generator, _Announcing(engine, number)) if isinstance(engine, RemoteEngines) else engine


class _Announcing:
    """The engines, for one batch; says when they have been asked for it."""

    def __init__(self, engines: RemoteEngines, batch: int) -> None:
        self._engines, self._batch, self.is_asked = engines, batch, threading.Event()

    def generate(
        self, prompts: Sequence[list[int]], sampling: Sampling, seeds: Sequence[int], on_finished: OnFinished | None = None
    ) -> list[Completion]:
        """See `Generator.generate`."""
        collect = self._engines.submit(prompts, sampling, seeds, self._batch)
        self.is_asked.set()
        return collect(on_finished)
