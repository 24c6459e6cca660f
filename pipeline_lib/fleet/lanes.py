"""What the dispatcher knows: rounds of weights with the requests that wait for them, calls, and engines with what they have."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from pipeline_lib.fleet.engine_host import Engine, Request
from pipeline_lib.records import Completion


@dataclass(eq=False, slots=True)
class Round:
    """Weights, and the requests to be generated with them that no engine has yet.

    `packed` is a list of what stands for them, which an object store would otherwise hand to the dispatcher in full. Those that a
    trainer sends from GPU to GPU are had by the engines of its `crew` alone.
    """

    version: str
    folder: str | None
    packed: Any = None
    crew: frozenset[str] | None = None
    digest: str | None = None
    waiting: deque[Request] = field(default_factory=deque)

    def is_for(self, name: str) -> bool:
        """Whether an engine can have them."""
        return self.crew is None or name in self.crew


@dataclass(eq=False, slots=True)
class Ticket:
    """The requests of one call: what is finished and not fetched yet, and how many are not finished."""

    round: Round
    num_left: int
    batch: int | None
    finished: list[tuple[int, Completion]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Lane:
    """An engine with the weights it holds (those of `round`, unless they are `loading`) and the requests it has."""

    name: str
    engine: Engine
    round: Round
    node: str = ""
    is_ready: bool = False
    loading: Round | None = None
    held: dict[int, Request] = field(default_factory=dict)
    load_began: float = 0.0
    begun: dict[int | None, float] = field(default_factory=dict)  # batches it generates for, and since when
