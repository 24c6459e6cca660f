"""Weights that come from a trainer's GPUs to the engines that were there: who gets them, and what becomes of engines that are lost."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_fleet import Counting, Crew, expected

from pipeline_lib.fleet.dispatcher import Dispatcher
from pipeline_lib.generation.checksums import Checksums
from pipeline_lib.generation.packed import Coming, Packed


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
        with pytest.raises(ConnectionError, match="no generator is left that has the newest weights"):
            while await crew.dispatcher.digest(1.0):
                pass
        await crew.dispatcher.reset()
        assert await crew.generate(range(6)) == expected(range(6), "as loaded")

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
