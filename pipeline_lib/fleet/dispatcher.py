"""Which engine generates what: requests dealt over all engines, weights pushed to them in versions, and engines that die replaced.

Weights come in rounds: what is submitted between two pushes is generated with the weights of the first, wholly and by whichever
engine has room. An engine takes over the next weights when nothing of the round before waits any more, and goes back where an engine
has died that had some of it. Draws depend on a request's seed alone, so neither the dealing nor a death changes what is drawn.

Plain asyncio, for one event loop; it knows engines by what `EngineHost` offers.
"""

import asyncio
import itertools
import logging
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline_lib.fleet.dealing import deal
from pipeline_lib.fleet.engine_host import Engine, News, Request
from pipeline_lib.fleet.lanes import Lane, Round, Ticket
from pipeline_lib.generation.protocol import Sampling
from pipeline_lib.messages.faults import Explained
from pipeline_lib.records import Completion, FleetEvent

NEWS_SECONDS = 1.0
# More engines lost than that in so many seconds: something is wrong that another engine does not mend.
MOST_LOSSES, LOSS_SECONDS = 3, 600.0
# So long may no engine have room: others use the cluster.
ROOM_SECONDS = 600.0

logger = logging.getLogger(__name__)


class FleetError(Explained):
    """The engines cannot generate, or do not hold the weights that they were sent; one line, and another try would find the same."""


class Dispatcher:
    """The engines of a run behind one queue. `start_engine(name)` starts one; `capacity` requests are given to each at once."""

    def __init__(
        self, start_engine: Callable[[str], Engine], num_engines: int, capacity: int, base_folder: str, deadline_seconds: float
    ) -> None:
        self._start_engine, self._capacity, self._deadline = start_engine, capacity, deadline_seconds
        self._base = Round("as loaded", base_folder)
        self._rounds = [self._base]
        self._lanes: list[Lane] = []
        self._tickets: dict[int, tuple[Ticket, int]] = {}  # by the key of a request: its call and its number there
        self._calls: dict[int, Ticket] = {}
        self._numbers = itertools.count()
        self._losses: list[float] = []
        self._error: str | None = None
        self._events: list[FleetEvent] = []
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._num_engines = num_engines
        self._had_room = time.monotonic()

    async def start(self) -> None:
        """Start all engines; returns at once."""
        for _ in range(self._num_engines):
            self._start_lane()

    async def submit(
        self, prompts: Sequence[list[int]], sampling: Sampling, seeds: Sequence[int], batch: int | None = None
    ) -> int:
        """Have prompts generated with the newest weights; what comes of it is fetched by the number that this returns."""
        ticket = Ticket(self._rounds[-1], len(prompts), batch)
        for number, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
            request = Request(next(self._numbers), prompt, sampling, seed)
            self._tickets[request.key] = (ticket, number)
            ticket.round.waiting.append(request)
        call = next(self._numbers)
        self._calls[call] = ticket
        await self._feed()
        return call

    async def fetch(self, call: int, wait_seconds: float) -> tuple[list[tuple[int, Completion]], bool]:
        """What of a call has been finished since it was last fetched, and whether that is all. Raises FleetError."""
        ticket = self._calls[call]
        await self._wait_for(lambda: bool(ticket.finished) or not ticket.num_left, wait_seconds)
        finished, ticket.finished = ticket.finished, []
        if not ticket.num_left:
            del self._calls[call]
        return finished, not ticket.num_left

    async def push(self, version: str, folder: str | None, packed: Any = None, crew: Sequence[str] | None = None) -> None:
        """New weights, for all that is submitted from now on: those of a folder, packed ones, or those that come to a crew."""
        self._rounds.append(Round(version, folder, packed, None if crew is None else frozenset(crew)))
        await self._feed()

    async def engines(self) -> list[str]:
        """The engines that have not been lost."""
        return [lane.name for lane in self._lanes]

    async def crew(self, wait_seconds: float) -> list[str] | None:
        """The engines that are ready, when all that have room are; None if they are not by then. Raises FleetError."""

        def is_whole() -> bool:
            placed = [lane.is_ready for lane in self._lanes if lane.node]
            return bool(placed) and all(placed)

        await self._wait_for(is_whole, wait_seconds)
        return [lane.name for lane in self._lanes if lane.is_ready] if is_whole() else None

    async def connect(self, crew: Sequence[str], init_info: dict[str, Any], num_each: int) -> None:
        """Have engines join the group of a trainer, with `num_each` workers each, who come after it."""
        lanes = {lane.name: lane for lane in self._lanes}
        for place, name in enumerate(crew):
            if name not in lanes:
                raise ConnectionError(f"{name} was lost before weights were sent to it: another trainer sends them")
            own = {**init_info, "rank_offset": 1 + place * num_each}
            await self._attempt(lanes[name], lanes[name].engine.call("connect", own))

    async def digest(self, wait_seconds: float) -> str | None:
        """The digest of the newest weights when all engines hold them; None if they do not by then. Raises FleetError."""
        newest = self._rounds[-1]

        def is_loaded() -> bool:
            ready = [lane for lane in self._lanes if lane.is_ready and newest.is_for(lane.name)]
            return bool(ready) and all(lane.round is newest and lane.loading is None for lane in ready)

        await self._wait_for(is_loaded, wait_seconds)
        return newest.digest if is_loaded() else None

    async def reset(self) -> None:
        """Forget what has been asked for: the trainer is another. Engines go back to the weights that they were started with."""
        for each in self._rounds:
            each.waiting.clear()
        self._rounds = [self._base]
        self._tickets.clear()
        self._calls.clear()
        self._error = None
        for lane in self._lanes:
            lane.held.clear()
            lane.begun.clear()
            if lane.is_ready:
                await self._attempt(lane, lane.engine.call("drop", next(self._numbers)))
        for lane in [lane for lane in self._lanes if lane.loading and lane.loading.crew is not None]:
            self._replace(lane)  # it waits for what the trainer before has not sent
        await self._feed()

    async def note(self, event: FleetEvent) -> None:
        """Put an event that others have seen among those of the engines."""
        self._events.append(event)

    async def events(self) -> list[FleetEvent]:
        """What has happened since the last call."""
        events, self._events = self._events, []
        return events

    async def _wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        async with self._changed:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait_for(lambda: bool(self._error) or condition()), seconds)
        if self._error:
            raise FleetError(self._error)
        if any(lane.node for lane in self._lanes):
            self._had_room = time.monotonic()
        elif time.monotonic() > self._had_room + ROOM_SECONDS:
            raise FleetError(f"no room for a generator in {ROOM_SECONDS:g} s: others use the cluster")
        for each in self._rounds:
            is_needed = each.waiting or each is self._rounds[-1]
            if is_needed and not any(each.is_for(lane.name) for lane in self._lanes):
                raise ConnectionError(
                    f"no generator is left that has the weights of {each.version}: another trainer sends them again"
                )

    def _start_lane(self) -> None:
        name = f"generator-{next(self._numbers)}"
        lane = Lane(name, self._start_engine(name), self._base)
        self._lanes.append(lane)
        self._begin(self._follow(lane))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, lane: Lane) -> None:
        """Hear an engine's news for as long as it lives."""
        try:
            lane.node = await lane.engine.call("where")
            while lane in self._lanes:
                news: News = await asyncio.wait_for(lane.engine.call("news", NEWS_SECONDS), self._deadline + NEWS_SECONDS)
                if news.failure and news.failure[1]:
                    self._error = news.failure[0]
                elif news.failure:
                    raise ConnectionError(news.failure[0])
                if news.seconds_since_step > self._deadline:
                    raise TimeoutError
                self._take(lane, news)
                await self._feed()
        except TimeoutError:
            await self._lose(lane, "hung", f"it has not answered or decoded for {self._deadline:g} s")
        except Exception as error:
            await self._lose(lane, "died", str(error))

    def _take(self, lane: Lane, news: News) -> None:
        if news.is_ready and not lane.is_ready:
            lane.is_ready = True
            self._note(lane, "started")
        for key, completion in news.done:
            if lane.held.pop(key, None):
                ticket, number = self._tickets.pop(key)
                ticket.finished.append((number, completion))
                ticket.num_left -= 1
        for batch in lane.begun.keys() - {self._tickets[key][0].batch for key in lane.held}:
            self._note(lane, "generated", batch, time.monotonic() - lane.begun.pop(batch))
        for _, digest in news.loaded:
            self._take_digest(lane, digest)

    def _take_digest(self, lane: Lane, digest: str) -> None:
        if lane.loading is None:
            return
        if lane.round.crew:  # they come only once
            lane.round.crew -= {lane.name}
        lane.round, lane.loading = lane.loading, None
        self._note(lane, "loaded", seconds=time.monotonic() - lane.load_began)
        if lane.round.digest not in (None, digest):
            self._error = f"{lane.name} holds other weights than the engines before it after it was sent {lane.round.version}"
        lane.round.digest = digest

    async def _lose(self, lane: Lane, kind: str, reason: str) -> None:
        """Give up an engine: what it had is dealt to others, before all that waits, and another one is started."""
        if lane not in self._lanes:
            return
        self._note(lane, kind, reason=" ".join(reason.split())[:300])
        logger.warning("%s %s: %s", lane.name, kind, reason)
        lane.round.waiting.extendleft(reversed(lane.held.values()))
        self._losses = [*(at for at in self._losses if at > time.monotonic() - LOSS_SECONDS), time.monotonic()]
        if len(self._losses) > MOST_LOSSES:
            self._error = f"{len(self._losses)} generators were lost in {LOSS_SECONDS / 60:g} minutes, the last: {reason}"
        self._replace(lane)
        await self._feed()

    def _replace(self, lane: Lane) -> None:
        """End an engine, and start another one unless the run is at its end."""
        self._lanes.remove(lane)
        lane.engine.kill()
        if not self._error:
            self._start_lane()

    async def _feed(self) -> None:
        """Give every engine what it can do next, and wake all who wait."""
        used = {id(lane.round) for lane in self._lanes if lane.held}
        last = self._rounds[-1]
        self._rounds = [each for each in self._rounds if each.waiting or each is last or id(each) in used]
        orders: list[Coroutine[Any, Any, None]] = []
        target = next((each for each in self._rounds if each.waiting), last)
        free = [lane for lane in self._lanes if lane.is_ready and not lane.loading]
        for lane in free:
            if lane.round is not target and not lane.held and target.is_for(lane.name):
                lane.loading, lane.load_began = target, time.monotonic()
                self._begin(self._load(lane, target))
        lanes = {lane.name: lane for lane in free if lane.round is target and not lane.loading}
        # No more than its share: an engine that has new weights a moment before the others would take all there is.
        ready = [each for each in self._lanes if each.is_ready and target.is_for(each.name)]
        num_left = len(target.waiting) + sum(len(each.held) for each in ready if each.round is target)
        most = min(self._capacity, math.ceil(num_left / max(len(ready), 1)))
        for name, requests in deal(target.waiting, {name: len(lanes[name].held) for name in lanes}, most).items():
            lane = lanes[name]
            lane.held |= {request.key: request for request in requests}
            for batch in {self._tickets[request.key][0].batch for request in requests}:
                lane.begun.setdefault(batch, time.monotonic())
            orders.append(self._attempt(lane, lane.engine.call("give", requests)))
        await asyncio.gather(*orders)
        async with self._changed:
            self._changed.notify_all()

    async def _load(self, lane: Lane, target: Round) -> None:
        """Order weights; where they are gone, as those of a trainer that has died, the engine stays free for others."""
        try:
            await lane.engine.call("load", target.version, target.folder, target.packed[0] if target.packed else None)
        except Exception as error:
            logger.info("%s did not get the weights of %s: %s", lane.name, target.version, error)
            lane.loading = None if lane.loading is target else lane.loading

    async def _attempt(self, lane: Lane, call: Coroutine[Any, Any, Any]) -> None:
        """Whether an engine has died is for its news to say; one that hangs holds up nobody."""
        try:
            await asyncio.wait_for(call, NEWS_SECONDS)
        except Exception as error:
            logger.info("%s did not take an order: %s", lane.name, error)

    def _note(self, lane: Lane, kind: str, batch: int | None = None, seconds: float | None = None, reason: str = "") -> None:
        happened = datetime.now(UTC) - timedelta(seconds=seconds or 0.0)
        self._events.append(FleetEvent("", happened, lane.name, lane.node, kind, lane.round.version, batch, seconds, reason))
