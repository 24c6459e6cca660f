"""One engine behind a queue, in a thread of its own: orders in, news out, so that whoever gives orders never waits for the engine."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline_lib.generation.packed import Coming, Packed, Receiver, unpack
from pipeline_lib.generation.protocol import Generator, Sampling
from pipeline_lib.messages.faults import explain, will_repeat
from pipeline_lib.records import Completion

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """One completion to be generated; `key` names it in the news."""

    key: int
    prompt: list[int]
    sampling: Sampling
    seed: int


@dataclass(frozen=True, slots=True)
class Load:
    """Weights to be taken over: those of a model folder, or else these."""

    version: str
    folder: str | None
    weights: Packed | Coming | None


@dataclass(frozen=True, slots=True)
class Connect:
    """To join the group in which a trainer sends weights from GPU to GPU."""

    init_info: dict[str, Any]


@dataclass(frozen=True, slots=True)
class News:
    """What an engine has done since the last news.

    `done`: completions by the keys of their requests. `loaded`: digests of the weights taken over, by version. `failure`: why the
    engine ended, and whether another would by the same. `seconds_since_step`: how long ago it decoded; 0 when it has nothing to do.
    """

    is_ready: bool
    done: list[tuple[int, Completion]]
    loaded: list[tuple[str, str]]
    failure: tuple[str, bool] | None
    seconds_since_step: float


class Engine(Protocol):
    """An `EngineHost` elsewhere."""

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of it, or `where` for its node; returns when there is room for it and it has been started."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


class _Dropped(Exception):
    """What is generated is not wanted any more."""


class EngineHost:
    """Runs an engine, which `make_engine` starts in the engine's thread, by orders in the order in which they come."""

    def __init__(self, make_engine: Callable[[], Generator], home: Path) -> None:
        self._make_engine, self._home = make_engine, home
        self._orders: deque[Request | Load | Connect] = deque()
        self._is_ready, self._is_closed, self._dropped_before = False, False, 0
        self._done: list[tuple[int, Completion]] = []
        self._loaded: list[tuple[str, str]] = []
        self._failure: tuple[str, bool] | None = None
        self._stepped: float | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True, name="engine")
        self._thread.start()

    def give(self, requests: list[Request]) -> None:
        """Have more generated."""
        self._order(*requests)

    def load(self, version: str, folder: str | None, weights: Packed | Coming | None) -> None:
        """Have weights taken over, those of a model folder or these, after what has been ordered before."""
        self._order(Load(version, folder, weights))

    def connect(self, init_info: dict[str, Any]) -> None:
        """Have the engine join a trainer's group; see `Receiver.connect`."""
        self._order(Connect(init_info))

    def _order(self, *orders: Request | Load | Connect) -> None:
        with self._changed:
            self._orders.extend(orders)
            self._changed.notify_all()

    def drop(self, before: int) -> None:
        """Forget the requests with keys below that, those that are being generated included. Later ones may be here already."""
        with self._changed:
            self._dropped_before = max(before, self._dropped_before)
            self._orders = deque(order for order in self._orders if not self._is_dropped(order))
            self._done = [(key, completion) for key, completion in self._done if key >= self._dropped_before]

    def _is_dropped(self, order: Request | Load | Connect) -> bool:
        return isinstance(order, Request) and order.key < self._dropped_before

    def news(self, wait_seconds: float) -> News:
        """What is new; waits for it, but no longer than that."""
        with self._changed:
            self._changed.wait_for(lambda: self._done or self._loaded or self._failure, wait_seconds)
            idle = 0.0 if self._stepped is None else time.monotonic() - self._stepped
            news = News(self._is_ready, self._done, self._loaded, self._failure, idle)
            self._done, self._loaded = [], []
        return news

    def close(self) -> None:
        """Release the engine, once it has finished what it does."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            engine = self._make_engine()
            with self._changed:
                self._is_ready = True
                self._changed.notify_all()
            while self._work(engine):
                pass
            engine.close()
        except Exception as error:
            logger.exception("the engine failed")
            with self._changed:
                self._failure = (explain(error, self._home), will_repeat(error))
                self._changed.notify_all()

    def _work(self, engine: Generator) -> bool:
        """Follow the next order, and the requests behind it that can be generated with it; False when closed."""
        with self._changed:
            self._stepped = None
            self._changed.wait_for(lambda: self._orders or self._is_closed)
            if self._is_closed:
                return False
            self._stepped = time.monotonic()
            order = None if isinstance(self._orders[0], Request) else self._orders.popleft()
        if isinstance(order, Connect):
            assert isinstance(engine, Receiver)
            engine.connect(order.init_info)
            return True
        if isinstance(order, Load):
            digest = self._load(engine, order)
            with self._changed:
                self._loaded.append((order.version, digest))
                self._changed.notify_all()
            return True
        try:
            self._generate(engine)
        except _Dropped:
            logger.info("what was being generated is dropped")
        return True

    @staticmethod
    def _load(engine: Generator, load: Load) -> str:
        if load.folder:
            return engine.load_folder(Path(load.folder))
        if isinstance(engine, Receiver):
            return engine.receive(load.weights or [], load.version)
        assert not isinstance(load.weights, Coming)
        return engine.load_weights(unpack(load.weights or []), load.version)

    def _generate(self, engine: Generator) -> None:
        first = self._next_requests(None)
        if not first:  # dropped in between
            return
        taken, left = list(first), {request.key: request for request in first}

        def on_finished(number: int, completion: Completion) -> None:
            with self._changed:
                del left[taken[number].key]
                if not self._is_dropped(taken[number]):
                    self._done.append((taken[number].key, completion))
                self._changed.notify_all()

        def more() -> list[tuple[list[int], int]]:
            if self._is_closed or any(map(self._is_dropped, left.values())):
                raise _Dropped
            added = self._next_requests(first[0].sampling)
            taken.extend(added)
            left.update({request.key: request for request in added})
            return [(request.prompt, request.seed) for request in added]

        prompts, seeds = [request.prompt for request in first], [request.seed for request in first]
        try:
            engine.generate(prompts, first[0].sampling, seeds, on_finished, more)
        except _Dropped:
            with self._changed:
                self._orders.extendleft(reversed([request for request in left.values() if not self._is_dropped(request)]))
            raise

    def _next_requests(self, sampling: Sampling | None) -> list[Request]:
        """The requests at the head of the queue that are sampled alike: in that way, or None: in the way of the first."""
        taken: list[Request] = []
        with self._changed:
            self._stepped = time.monotonic()
            while self._orders and isinstance(request := self._orders[0], Request):
                if request.sampling != (sampling := sampling or request.sampling):
                    break
                self._orders.popleft()
                taken.append(request)
        return taken
