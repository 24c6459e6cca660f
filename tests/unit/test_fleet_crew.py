"""Weights that come from a trainer's GPUs to the engines that were there: who gets them, and what becomes of engines that are lost."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_fleet import SAMPLING, Counting, Crew, expected

from pipeline_lib.fleet.dispatcher import Dispatcher
from pipeline_lib.generation.checksums import Checksums
from pipeline_lib.generation.packed import Coming, Packed, pack


class Receiving(Counting):
    """An engine that gets what it is told will come, when `wait` returns."""

    def __init__(self, wait: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self._wait, self.joined = wait, list[dict[str, Any]]()

    def connect(self, init_info: dict[str, Any]) -> None:
        self.joined.append(init_info)

    def receive(self, weights: Packed | Coming, version: str) -> str:
        assert self.joined and isinstance(weights, Coming)
        self._wait()
        return self.load_weights([], version)


async def send(dispatcher: Dispatcher, version: str) -> list[str]:
    """What a sender has the dispatcher do; returns the crew."""
    crew = await dispatcher.crew(5.0)
    assert crew
    await dispatcher.connect(crew, {"port": version}, 2)
    await dispatcher.push(version, None, [Coming({}, Checksums())], crew)
    return crew


def test_an_engine_that_joins_later_waits_for_the_next_weights(tmp_path: Path) -> None:
    async def check() -> None:
        engines = [Receiving() for _ in range(3)]
        crew = Crew(tmp_path, *engines)
        await crew.start_both()
        first = await send(crew.dispatcher, "one")
        assert len(first) == 2
        assert await crew.generate(range(12)) == expected(range(12), "one")
        assert await crew.dispatcher.digest(5.0) == "one", "one engine could have done all the work before the other has joined"
        assert sorted(engine.joined[0]["rank_offset"] for engine in engines[:2]) == [1, 3], (
            "behind the trainer, two workers each"
        )
        crew.started[0].is_dead = True
        await asyncio.sleep(0.2)
        assert await crew.generate(range(12)) == expected(range(12), "one"), "by the one that is left of the crew"
        assert await crew.dispatcher.digest(5.0) == "one" and engines[2].joined == []
        second = await send(crew.dispatcher, "two")
        assert len(second) == 2 and len(set(second) - set(first)) == 1
        assert await crew.dispatcher.digest(5.0) == "two" and engines[2].joined[0]["port"] == "two"

    asyncio.run(check())


def test_weights_that_no_engine_has_any_more_are_another_trainer_s_to_send(tmp_path: Path) -> None:
    async def check() -> None:
        crew = Crew(tmp_path, *(Receiving() for _ in range(4)))
        await crew.start_both()
        await send(crew.dispatcher, "one")
        for engine in crew.started:
            engine.is_dead = True
        with pytest.raises(ConnectionError, match="no generator is left that has the weights of one"):
            while await crew.dispatcher.digest(1.0):
                pass
        await crew.dispatcher.reset()
        assert await crew.generate(range(6)) == expected(range(6), "as loaded")

    asyncio.run(check())


def test_an_engine_that_has_gone_on_does_not_wait_for_weights_that_came_to_it_once(tmp_path: Path) -> None:
    async def check() -> None:
        has_begun, never, came = threading.Event(), threading.Event(), list[str]()

        def hold() -> None:
            has_begun.set()
            never.wait(20)

        holding, other = Receiving(), Receiving()
        holding._pace = hold  # type: ignore[method-assign]
        other.receive = lambda _, version: (came.append(version), other.load_weights([], version))[1]  # type: ignore[method-assign]
        crew = Crew(tmp_path, holding, other)
        await crew.start_both()
        await send(crew.dispatcher, "one")
        while await crew.dispatcher.digest(5.0) is None:
            pass
        call = await crew.dispatcher.submit([[seed // 3] for seed in range(6)], SAMPLING, range(6))
        await asyncio.to_thread(has_begun.wait, 10)
        await crew.dispatcher.push("two", None, [pack([("w", torch.ones(2))])])
        assert await crew.generate([6]) == expected([6], "two"), "the other engine goes on with weights that all can have"
        crew.started[0].is_dead = True
        with pytest.raises(ConnectionError, match="no generator is left that has the weights of one"):
            await asyncio.wait_for(crew.collect(call, 6), 10)
        assert came == ["one", "two"]
        never.set()

    asyncio.run(check())


def test_a_crew_that_has_lost_an_engine_is_not_joined(tmp_path: Path) -> None:
    async def check() -> None:
        crew = Crew(tmp_path, *(Receiving() for _ in range(4)))
        await crew.start_both()
        names = await crew.dispatcher.crew(5.0)
        assert names
        crew.started[0].is_dead = True
        while names[0] in await crew.dispatcher.engines():
            await asyncio.sleep(0.02)
        with pytest.raises(ConnectionError, match=rf"^{names[0]} was lost before weights were sent to it"):
            await crew.dispatcher.connect(names, {}, 1)

    asyncio.run(check())


def test_an_engine_that_waits_for_a_trainer_that_is_gone_is_replaced(tmp_path: Path) -> None:
    async def check() -> None:
        never = threading.Event()
        crew = Crew(tmp_path, Receiving(lambda: never.wait(20)), Receiving(lambda: never.wait(20)))
        await crew.start_both()
        await send(crew.dispatcher, "one")
        await asyncio.sleep(0.1)
        await crew.dispatcher.reset()
        assert [engine.was_killed for engine in crew.started] == [True, True, False, False]
        assert await crew.generate(range(6)) == expected(range(6), "as loaded")
        never.set()

    asyncio.run(check())
