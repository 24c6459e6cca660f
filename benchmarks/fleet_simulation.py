"""How long a training step takes on one to eight machines of eight H100, by layout and batches ahead: simulated, nothing is run.

    python benchmarks/fleet_simulation.py [--configs NAME ...] [--median-share 0.5] [--whole-groups]

Prints Markdown: seconds a step, GPU-hours of the run, idle shares, and the ratios beside published ones (docs/explanation/fleet.md).
`fleet_model.py` has the constants and the parts. Layouts:

* colocated: every GPU generates, then trains. With A batches ahead engines go on with later batches until the whole of the next one to
  train has ended; what is unfinished gives its cache up for the update, and goes on with the new weights.
* split: generators of `tensor_parallel` GPUs beside trainer ranks, in the best of the numbers tried. An engine takes in new weights
  between batches.
* in flight: split, but new weights reach an engine at once, and its rollouts go on with them.

A batch is dispatched when at most A others are untrained; batches train whole, in the order of dispatch, and none is dropped.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.fleet_model import Engine, Lengths, Machine, Speed, deal_lengths, push_seconds, update_seconds
from pipeline_lib.config import RunConfig, load_config
from pipeline_lib.config.shipped import PROJECT
from pipeline_lib.files.markdown import table
from pipeline_lib.memory import H100, Architecture, architecture_of, memory_plan
from pipeline_lib.memory.remedy import with_settings

PAPER = (
    "qwen3-0.6b", "qwen3-1.7b", "r1-distill-1.5b", "qwen3-4b-instruct", "qwen3-4b-thinking", "qwen3-8b",
    "qwen3-30b-a3b-instruct", "qwen3-30b-a3b-thinking",
)  # fmt: skip
GPUS = (8, 16, 64)
AHEAD = (0, 1, 2)
# The median response before the cut, as a share of L_R: assumed; the mean after it is then 0.6 of L_R, and a third is cut.
MEDIAN_SHARE = 0.5
# Steps that are simulated, and how many of them fill the pipeline and are not counted: what is left has whole rounds of A + 1.
STEPS, FILLING = 16, 4
# Divisions into generators and trainers of which the whole schedule is simulated: the most promising ones by so many steps.
DIVISIONS_TRIED, SKETCHED = 4, 3
Layout = tuple[str, int]  # its name and batches ahead
LAYOUTS: list[Layout] = [
    (name, ahead) for name in ("colocated", "split", "in flight") for ahead in AHEAD if ahead or name != "in flight"
]
# Published ratios of step times, and which layouts here come nearest to what was compared (docs/explanation/fleet.md has the sources).
PUBLISHED: list[tuple[str, str, Layout, Layout]] = [
    ("verl, one step off", "1.23 to 1.40 (16 GPUs)", ("colocated", 0), ("split", 1)),
    ("verl, fully asynchronous", "2.35 to 2.67 (128 GPUs)", ("colocated", 0), ("in flight", 1)),
    ("APRIL", "1.2 on average, at most 1.44 (generation)", ("colocated", 0), ("colocated", 1)),
    ("AReaL, asynchronous", "about 2", ("split", 0), ("in flight", 2)),
    ("PipelineRL", "about 2 (learning; 128 GPUs)", ("colocated", 0), ("in flight", 2)),
    ("TRL, colocated", "about 2", ("split", 0), ("colocated", 0)),
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Seconds a step in the steady state, the idle share of generators, of trainers and of all GPUs, and when each step ended."""

    step_seconds: float
    generators_idle: float
    trainers_idle: float
    idle: float
    trained: list[float]
    division: tuple[int, int]  # GPUs that generate and that train


class Fleet:
    """A configuration on a number of GPUs; `lengths` holds the tokens of each step's rollouts, prompts x samples."""

    def __init__(
        self,
        config: RunConfig,
        model: Architecture,
        gpus: int,
        lengths: Sequence[np.ndarray[Any, Any]],
        machine: Machine,
        whole_groups: bool = False,
    ) -> None:
        self.config, self.model, self.gpus, self.lengths, self.machine = config, model, gpus, lengths, machine
        self.whole_groups = whole_groups
        self.parallel = config.generation.tensor_parallel
        self.push = push_seconds(config, model, machine, gpus)
        self._updates: dict[int, list[list[float]]] = {}
        self._drained: dict[int, list[list[float]]] = {}

    @cached_property
    def alone(self) -> Speed:
        """An engine that has its GPUs for itself."""
        return Speed.of(self.config, self.model, self.machine, self.gpus, alone=True)

    @cached_property
    def divisions(self) -> list[tuple[int, int]]:
        """GPUs for generators and for trainers, as far as the memory plan has room for the trainer."""
        step = max(self.parallel, self.gpus // 16)
        divisions = [(self.gpus - ranks, ranks) for ranks in range(step, self.gpus, step)]
        return [division for division in divisions if self._trainer_fits(division[1])]

    def _trainer_fits(self, ranks: int) -> bool:
        plan = memory_plan(with_settings(self.config, {"compute.num_processes": ranks}), self.model, H100)
        return all(phase.total - phase.parts["engine"] <= plan.usable_gib for phase in plan.phases[2:])

    def updates(self, ranks: int, steps: int | None = None) -> list[list[float]]:
        """Seconds of each rank in the update of each step; the slowest one is waited for."""
        for lengths in self.lengths[len(known := self._updates.setdefault(ranks, [])) : steps]:
            known.append(update_seconds(lengths, ranks, self.config, self.model, self.machine))
        return known[:steps]

    def drained(self, generators: int, steps: int | None = None) -> list[list[float]]:
        """Seconds that each engine takes for its part of each step, begun and ended empty."""
        for lengths in self.lengths[len(known := self._drained.setdefault(generators, [])) : steps]:
            known.append([_alone(self.alone, share) for share in self._deal(lengths, generators // self.parallel)])
        return known[:steps]

    def simulate(self, layout: str, ahead: int) -> Outcome:
        """The steady state of a layout; of a split one, with the best division into generators and trainers."""
        if layout == "colocated":
            return self.colocated(ahead)

        def promise(division: tuple[int, int]) -> float:
            engines, ranks = self.drained(division[0], SKETCHED), self.updates(division[1], SKETCHED)
            update = mean(max(each) for each in ranks)
            return max(mean(map(mean, engines)), update) if ahead else mean(map(max, engines)) + update

        run = self.split if layout == "split" else self.in_flight
        tried = sorted(self.divisions, key=promise)[:DIVISIONS_TRIED]
        return min((run(division, ahead) for division in tried), key=lambda found: found.step_seconds)

    def split(self, division: tuple[int, int], ahead: int) -> Outcome:
        """Engines take their parts in the order of dispatch, and weights in between; trainers take whole batches in that order."""
        parts, updates = self.drained(division[0]), self.updates(division[1])
        free = np.zeros(len(parts[0]))
        trained: list[float] = []
        known = [0.0] * (ahead + 1)  # from when each batch's weights can be asked for
        for batch, seconds in enumerate(parts):
            begun = np.maximum(free + (self.push if batch else 0.0), known[batch])
            free = begun + np.array(seconds)
            ready = free.max() + self.machine.grade_seconds
            trained.append(max(ready, trained[-1] + self.push if trained else 0.0) + max(updates[batch]))
            known.append(trained[-1] + self.push)
        return self._outcome(trained, mean(mean(engines) for engines in parts[FILLING:]), division)

    def in_flight(self, division: tuple[int, int], ahead: int) -> Outcome:
        """Split, with engines that go on with new weights in the middle of rollouts."""
        engines = [Engine(self.alone) for _ in range(division[0] // self.parallel)]
        return self._run(engines, division, ahead)

    def colocated(self, ahead: int) -> Outcome:
        """All GPUs generate and train in turn."""
        speed = Speed.of(self.config, self.model, self.machine, self.gpus, alone=False)
        engines = [Engine(speed) for _ in range(self.gpus // self.parallel)]
        return self._run(engines, (self.gpus, self.gpus), ahead)

    def _run(self, engines: list[Engine], division: tuple[int, int], ahead: int) -> Outcome:
        """Batch after batch: until the whole of it has ended, update, weights to all engines, and the next dispatch."""
        updates, takes_turns = self.updates(division[1]), division[0] == division[1] == self.gpus
        between = self.push + (self.machine.sleep_wake_seconds if takes_turns else 0.0)
        for batch in range(ahead + 1):
            self._dispatch(engines, 0.0, batch)
        trained: list[float] = []
        busy: list[float] = []
        for batch in range(len(self.lengths)):
            ended = max(engine.finish(batch) for engine in engines)
            begun = max(ended + self.machine.grade_seconds, trained[-1] + between if trained else 0.0)
            trained.append(begun + max(updates[batch]))
            for engine in engines:
                if takes_turns:
                    engine.pause(begun, trained[-1] - begun + between, loses_cache=True)
                else:
                    engine.pause(trained[-1], self.push)
                engine.settle()
            busy.append(mean(engine.busy_seconds for engine in engines))
            self._dispatch(engines, trained[-1] + between, batch + ahead + 1)
        return self._outcome(trained, (busy[-1] - busy[FILLING - 1]) / (len(busy) - FILLING), division)

    def _dispatch(self, engines: list[Engine], at: float, batch: int) -> None:
        shares = self._deal(self.lengths[batch % len(self.lengths)], len(engines))
        for engine, share in zip(engines, shares, strict=True):
            engine.submit(at, batch, share)

    def _deal(self, lengths: np.ndarray[Any, Any], engines: int) -> list[list[int]]:
        return deal_lengths(lengths, engines, self.whole_groups)

    def _outcome(self, trained: list[float], generating: float, division: tuple[int, int]) -> Outcome:
        """From the mean seconds a step that an engine is busy."""
        step = (trained[-1] - trained[FILLING - 1]) / (len(trained) - FILLING)
        training = mean(mean(ranks) for ranks in self.updates(division[1])[FILLING:])
        busy = (division[0] * generating + division[1] * training) / (self.gpus * step)
        return Outcome(step, 1 - generating / step, 1 - training / step, 1 - busy, trained, division)


def _alone(speed: Speed, share: list[int]) -> float:
    engine = Engine(speed)
    engine.submit(0.0, 0, share)
    return engine.finish(0)


def lengths_of(config: RunConfig, source: Lengths, median_share: float, steps: int) -> list[np.ndarray[Any, Any]]:
    """Tokens of the rollouts of each step, cut at the run's limit."""
    limit, train = config.train.rollout_limit_tokens, config.train
    drawn = [source.draw(train.prompts_per_step, train.num_rollouts, [config.seed, step]) for step in range(steps)]
    return [np.clip(np.ceil(each * limit * median_share), 1, limit).astype(int) for each in drawn]


Outcomes = dict[tuple[str, int], dict[Layout, Outcome]]  # by configuration and number of GPUs


def simulate(names: Sequence[str], source: Lengths, median_share: float, whole_groups: bool) -> Outcomes:
    """Every layout of every configuration on every number of GPUs."""
    outcomes: Outcomes = {}
    for name in names:
        config = read(name)
        model = architecture_of(config.base_model)
        assert model is not None
        lengths = lengths_of(config, source, median_share, STEPS)
        for gpus in GPUS:
            fleet = Fleet(config, model, gpus, lengths, Machine(), whole_groups)
            outcomes[name, gpus] = {layout: fleet.simulate(*layout) for layout in LAYOUTS}
    return outcomes


def read(name: str) -> RunConfig:
    """A shipped configuration."""
    config: RunConfig = load_config(PROJECT / "configs" / f"{name}.toml")
    return config


def step_cell(found: Outcome, gpus: int) -> str:
    """Seconds a step, and how a split fleet is divided."""
    generating, training = found.division
    return f"{found.step_seconds:.0f}" + ("" if generating == gpus else f" ({generating}:{training})")


def idle_cell(found: Outcome, gpus: int) -> str:
    """Idle share of all GPUs in per cent, and of a split fleet's generators and trainers."""
    parts = f" ({100 * found.generators_idle:.0f}, {100 * found.trainers_idle:.0f})"
    return f"{100 * found.idle:.0f}" + ("" if found.division[0] == gpus else parts)


def layout_table(outcomes: Outcomes, cell: Callable[[str, int, Outcome], str]) -> str:
    """A row for each configuration and number of GPUs, a column for each layout."""
    rows = [
        [name, f"{gpus // 8} x 8", *(cell(name, gpus, found) for found in layouts.values())]
        for (name, gpus), layouts in outcomes.items()
    ]
    return table(["configuration", "GPUs", *(f"{layout}, A = {ahead}" for layout, ahead in LAYOUTS)], rows)


def published_table(outcomes: Outcomes) -> str:
    """Published ratios of step times beside the nearest ones here, the least and the most of the configurations."""
    rows = []
    for name, figure, slow, fast in PUBLISHED:
        cells = [name, figure, "{}, A = {}, against {}, A = {}".format(*fast, *slow)]
        for gpus in GPUS:
            ratios = [
                found[slow].step_seconds / found[fast].step_seconds for (_, number), found in outcomes.items() if number == gpus
            ]
            cells.append(f"{min(ratios):.1f} to {max(ratios):.1f}")
        rows.append(cells)
    return table(["system", "published", "nearest here", *(f"{gpus // 8} x 8" for gpus in GPUS)], rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--configs", nargs="+", default=PAPER, help="names of files in configs/")
    parser.add_argument(
        "--median-share", type=float, default=MEDIAN_SHARE, help="median response before the cut, as a share of L_R"
    )
    parser.add_argument("--whole-groups", action="store_true", help="deal groups to engines, in place of single rollouts")
    chosen = parser.parse_args()
    source = Lengths()
    outcomes = simulate(chosen.configs, source, chosen.median_share, chosen.whole_groups)
    print(f"Simulated, not measured. Lengths: {source.source}; their median is {chosen.median_share} L_R.")
    print("\nSeconds a step (GPUs that generate : that train)\n")
    print(layout_table(outcomes, lambda name, gpus, found: step_cell(found, gpus)))
    print("\nGPU-hours of the run\n")
    steps = {name: read(name).train.steps for name in chosen.configs}
    print(layout_table(outcomes, lambda name, gpus, found: f"{found.step_seconds * gpus * steps[name] / 3600:,.0f}"))
    print("\nIdle GPU time in per cent (of the generators, of the trainers)\n")
    print(layout_table(outcomes, lambda name, gpus, found: idle_cell(found, gpus)))
    print("\nRatios of step times\n")
    print(published_table(outcomes))
    generating = [100 * layouts["colocated", 0].trainers_idle for layouts in outcomes.values()]
    print(
        f"\nGeneration and what surrounds it take {min(generating):.0f} to {max(generating):.0f} % of a colocated step with A = 0."
    )


if __name__ == "__main__":
    main()
