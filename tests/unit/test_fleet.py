"""The parts of a fleet that need no Ray: dealing, versions, engines that die or hang, how far generation may run ahead."""

import asyncio
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline_lib.config import TrainConfig, load_config
from pipeline_lib.fleet.dealing import deal
from pipeline_lib.fleet.dispatcher import Dispatcher, FleetError
from pipeline_lib.fleet.engine_host import EngineHost, Request
from pipeline_lib.fleet.fleets import make_fleet
from pipeline_lib.generation.packed import pack, unpack
from pipeline_lib.generation.protocol import More, OnFinished, Sampling
from pipeline_lib.records import Completion
from pipeline_lib.training.ahead import may_be_dispatched

SAMPLING = Sampling(8)


class Counting:
    """An engine that says what it was asked for and the version it holds; `pace` is called before each completion."""

    def __init__(self, pace: Callable[[], object] = lambda: None, skew: str = "") -> None:
        self._pace, self._skew, self._version = pace, skew, "as loaded"

    def generate(
        self,
        prompts: Sequence[list[int]],
        sampling: Sampling,
        seeds: Sequence[int],
        on_finished: OnFinished | None = None,
        more: More | None = None,
    ) -> list[Completion]:
        asked, done = list(zip(prompts, seeds, strict=True)), list[Completion]()
        while len(done) < len(asked):
            self._pace()
            asked += more() if more else []
            prompt, seed = asked[len(done)]
            done.append(Completion([*prompt, seed], [0.0], self._version, "stop"))
            if on_finished:
                on_finished(len(done) - 1, done[-1])
        return done

    def load_weights(self, named_weights: Iterable[tuple[str, torch.Tensor]], version: str) -> str:
        self._version = version
        return f"{version}{self._skew}"

    def load_folder(self, folder: Path) -> str:
        return self.load_weights([], str(folder))

    def sleep(self) -> None: ...

    def drain(self) -> None: ...

    def close(self) -> None: ...


class Here:
    """An engine host in this process, as the dispatcher knows one elsewhere; it can die and hang."""

    def __init__(self, engine: Counting, home: Path) -> None:
        self._host, self.is_dead, self.hangs, self.was_killed = EngineHost(lambda: engine, home), False, False, False
        self.loses = ""  # weights that never come

    async def call(self, method: str, *arguments: Any) -> Any:
        if method == "where":
            return "here"
        while self.hangs:
            await asyncio.sleep(0.01)
        if method == "load" and arguments[0] == self.loses:
            raise ConnectionError("their owner has died")
        if method == "news":
            arguments = (0.05,)
        came = await asyncio.to_thread(getattr(self._host, method), *arguments)
        if self.is_dead:
            raise ConnectionError("it died")
        return came

    def kill(self) -> None:
        self.is_dead, self.was_killed = True, True


class Crew:
    """Two engines behind a dispatcher; those that are started later have the next of `engines`."""

    def __init__(self, home: Path, *engines: Counting, deadline: float = 30.0, capacity: int = 4) -> None:
        self.started: list[Here] = []
        left = deque(engines)

        def start(_: str) -> Here:
            self.started.append(Here(left.popleft() if left else Counting(), home))
            return self.started[-1]

        self.dispatcher = Dispatcher(start, 2, capacity, "as loaded", deadline)

    async def generate(self, seeds: Sequence[int]) -> list[tuple[list[int], str]]:
        """What was drawn for each seed, and the version of its weights."""
        return await self.collect(await self.dispatcher.submit([[seed // 3] for seed in seeds], SAMPLING, seeds), len(seeds))

    async def collect(self, call: int, number: int) -> list[tuple[list[int], str]]:
        drawn: dict[int, Completion] = {}
        is_all = False
        while not is_all:
            finished, is_all = await self.dispatcher.fetch(call, 1.0)
            drawn |= dict(finished)
        return [(drawn[place].token_ids, drawn[place].text) for place in range(number)]

    async def start_both(self) -> None:
        """Until both are ready: on a busy machine one could do all the work before the other has begun."""
        await self.dispatcher.start()
        ready = 0
        while ready < 2:
            await asyncio.sleep(0.01)
            ready += (await self.kinds()).count("started")

    async def kinds(self) -> list[str]:
        return [event.kind for event in await self.dispatcher.events()]


def expected(seeds: Sequence[int], version: str) -> list[tuple[list[int], str]]:
    return [([seed // 3, seed], version) for seed in seeds]


def test_samples_of_a_prompt_stay_together_and_engines_get_as_much_as_each_other() -> None:
    prompts = [[1], [2], [3], [4]]
    waiting = deque(Request(place, prompts[place // 2], SAMPLING, 0) for place in range(8))
    given = deal(waiting, {"a": 0, "b": 1}, 4)
    keys = {name: [request.key for request in requests] for name, requests in given.items()}
    assert keys == {"a": [0, 1, 4, 5], "b": [2, 3, 6]}
    assert [request.key for request in waiting] == [7], "nobody has room"
    assert deal(waiting, {"a": 4}, 4) == {} and deal(waiting, {}, 4) == {}


def test_what_is_submitted_between_two_pushes_is_generated_with_the_first(tmp_path: Path) -> None:
    async def check() -> None:
        crew = Crew(tmp_path)
        await crew.start_both()
        calls = []
        for version in ("as loaded", "one", "two"):
            if calls:
                await crew.dispatcher.push(version, None, [pack([("w", torch.ones(2))])])
            calls.append((version, await crew.dispatcher.submit([[seed // 3] for seed in range(20)], SAMPLING, range(20))))
        for version, call in calls:
            assert await crew.collect(call, 20) == expected(range(20), version)
        assert await crew.dispatcher.digest(5.0) == "two"
        assert (await crew.kinds()).count("loaded") >= 3, (
            "an engine that is late may pass over weights that others have dealt with"
        )

    asyncio.run(check())


def test_an_engine_that_is_first_leaves_the_others_their_share(tmp_path: Path) -> None:
    async def check() -> None:
        begun = threading.Event()
        slow, quick = Counting(begun.set), Counting(lambda: begun.wait(2))
        slow.load_weights = lambda *_: (time.sleep(0.3), "one")[1]  # type: ignore[method-assign]
        quick.load_weights = lambda *_: "one"  # type: ignore[method-assign]
        crew = Crew(tmp_path, slow, quick, capacity=100)
        await crew.start_both()
        await crew.dispatcher.push("one", None, [pack([("w", torch.ones(2))])])
        call = await crew.dispatcher.submit([[seed // 3] for seed in range(12)], SAMPLING, range(12), 7)
        await crew.collect(call, 12)
        assert len({event.actor for event in await crew.dispatcher.events() if event.batch == 7}) == 2

    asyncio.run(check())


@pytest.mark.parametrize("way", ["dies", "hangs"])
def test_what_an_engine_had_goes_to_another_with_its_seeds_and_its_weights(tmp_path: Path, way: str) -> None:
    async def check() -> None:
        stuck, moved_on = threading.Event(), threading.Event()

        def hold() -> None:
            stuck.set()
            moved_on.wait(20)

        crew = Crew(tmp_path, Counting(hold), deadline=30.0 if way == "dies" else 0.5)
        await crew.start_both()
        call = await crew.dispatcher.submit([[seed // 3] for seed in range(6)], SAMPLING, range(6))
        await asyncio.to_thread(stuck.wait, 10)
        await crew.dispatcher.push("one", "one")
        after = await crew.dispatcher.submit([[2]], SAMPLING, [6])
        assert await crew.collect(after, 1) == expected([6], "one"), "the other engine goes on with the next weights"
        if way == "dies":
            crew.started[0].is_dead = True
        else:
            crew.started[0].hangs = True
        assert await crew.collect(call, 6) == expected(range(6), "as loaded")
        moved_on.set()
        assert crew.started[0].was_killed and len(crew.started) == 3
        assert "died" in (kinds := await crew.kinds()) or "hung" in kinds
        assert await crew.dispatcher.digest(5.0) == "one", "all of them end with the newest weights"

    asyncio.run(check())


def test_an_engine_that_answers_and_does_not_decode_is_given_up(tmp_path: Path) -> None:
    async def check() -> None:
        stuck = threading.Event()
        crew = Crew(tmp_path, Counting(lambda: stuck.wait(20)), deadline=0.4)
        await crew.start_both()
        assert await crew.generate(range(6)) == expected(range(6), "as loaded")
        stuck.set()
        assert "hung" in await crew.kinds()

    asyncio.run(check())


def test_engines_that_die_again_and_again_end_the_run(tmp_path: Path) -> None:
    async def check() -> None:
        crew = Crew(tmp_path)
        await crew.dispatcher.start()
        for place in range(4):
            await crew.generate([1])
            crew.started[place].is_dead = True
            await asyncio.sleep(0.2)
        with pytest.raises(FleetError, match="4 generators were lost in 10 minutes, the last: it died"):
            await crew.generate(range(6))

    asyncio.run(check())


def test_engines_that_hold_different_weights_end_the_run(tmp_path: Path) -> None:
    async def check() -> None:
        crew = Crew(tmp_path, Counting(skew=" but for a layer"))
        await crew.dispatcher.start()
        started = 0
        while started < 2:
            started += (await crew.kinds()).count("started")
            await asyncio.sleep(0.02)
        await crew.dispatcher.push("one", "one")
        with pytest.raises(FleetError, match=r"generator-\d holds other weights than the engines before it"):
            while await crew.dispatcher.digest(5.0) is None:
                pass

    asyncio.run(check())


def test_another_trainer_finds_the_engines_as_they_were_started(tmp_path: Path) -> None:
    async def check() -> None:
        crew = Crew(tmp_path, Counting(lambda: time.sleep(0.02)), Counting(lambda: time.sleep(0.02)))
        await crew.dispatcher.start()
        await crew.dispatcher.push("one", "one")
        await crew.dispatcher.submit([[7]] * 50, SAMPLING, range(50))
        await asyncio.sleep(0.3)
        await crew.dispatcher.reset()
        assert await crew.generate(range(6)) == expected(range(6), "as loaded")

    asyncio.run(check())


def test_weights_that_are_gone_do_not_keep_an_engine_from_others(tmp_path: Path) -> None:
    async def check() -> None:
        crew = Crew(tmp_path)
        await crew.dispatcher.start()
        await crew.generate([1])
        for engine in crew.started:
            engine.loses = "gone"
        await crew.dispatcher.push("gone", "gone")
        await asyncio.sleep(0.3)
        await crew.dispatcher.reset()
        await crew.dispatcher.push("one", "one")
        assert await crew.generate(range(6)) == expected(range(6), "one")
        assert (await crew.kinds()).count("started") == 2

    asyncio.run(check())


def test_packed_weights_are_those_that_were_sent() -> None:
    sent = {"a": torch.randn(3, 5), "b": torch.randn(7).bfloat16(), "c": torch.tensor(2.5)}
    received = dict(unpack(pack(sent.items())))
    assert all(torch.equal(received[name], weight) and received[name].dtype == weight.dtype for name, weight in sent.items())


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_a_batch_is_dispatched_when_few_enough_before_it_are_untrained(ahead: int) -> None:
    for trained in range(4):
        allowed = [number for number in range(1, 9) if number > trained and may_be_dispatched(number, trained, ahead)]
        assert allowed == list(range(trained + 1, trained + ahead + 2))


def test_batches_ahead_need_the_correction_and_a_fleet(configs: Path) -> None:
    train = {"steps": 4, "batches_ahead": 1}
    with pytest.raises(ValueError, match="set engine_ratio_cap"):
        TrainConfig.model_validate(train)
    with pytest.raises(ValueError, match="batches_ahead and dynamic_sampling_batches exclude each other"):
        TrainConfig.model_validate({**train, "engine_ratio_cap": 2.0, "dynamic_sampling_batches": 1})
    changes = ["train.batches_ahead=1", "train.engine_ratio_cap=2.0"]
    with pytest.raises(ValueError, match="needs fleet.kind = 'ray'"):
        load_config(configs / "smoke.toml", changes)
    with pytest.raises(ValueError, match="an alarm cannot roll back"):
        load_config(configs / "smoke.toml", [*changes, "fleet.kind=ray", "watch.entropy_spike=roll_back"])


def test_without_ray_the_extra_is_named(configs: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "pipeline_lib.fleet.ray_fleet", raising=False)
    config = load_config(configs / "smoke.toml", ["fleet.kind=ray", "fleet.address=10.0.0.1:6379"])
    with pytest.raises(ValueError, match=r"^fleet.kind = 'ray' needs Ray: pip install 'laconic\[ray\]'$"):
        make_fleet(config, "base", home)


@pytest.mark.parametrize("dropped_before", [5, 7, 9])
def test_an_order_to_forget_that_comes_late_forgets_nothing_newer(home: Path, dropped_before: int) -> None:
    has_begun, may_go_on = threading.Event(), threading.Event()

    def pace() -> None:
        has_begun.set()
        assert may_go_on.wait(30)

    host = EngineHost(lambda: Counting(pace), home)
    host.give([Request(key, [key], SAMPLING, key) for key in (5, 6)])
    assert has_begun.wait(30)
    host.give([Request(key, [key], SAMPLING, key) for key in (7, 8)])
    host.drop(dropped_before)
    host.give([Request(9, [9], SAMPLING, 9)])
    may_go_on.set()
    done: list[tuple[int, Completion]] = []
    while len(done) < 10 - dropped_before:
        done += host.news(5.0).done
    host.close()
    assert {key: completion.token_ids for key, completion in done} == {key: [key, key] for key in range(dropped_before, 10)}


def test_engines_without_room_end_the_run_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unplaced:
        async def call(self, method: str, *arguments: Any) -> Any:
            await asyncio.Event().wait()

        def kill(self) -> None: ...

    monkeypatch.setattr("pipeline_lib.fleet.dispatcher.ROOM_SECONDS", 0.1)

    async def check() -> None:
        dispatcher = Dispatcher(lambda _: Unplaced(), 2, 4, "as loaded", 30.0)
        await dispatcher.start()
        call = await dispatcher.submit([[1]], SAMPLING, [1])
        with pytest.raises(FleetError, match="no room for a generator in 0.1 s: others use the cluster"):
            for _ in range(20):
                await dispatcher.fetch(call, 0.05)

    asyncio.run(check())
