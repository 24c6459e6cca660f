"""What the fleet's simulation computes with: the machine's constants, lengths of rollouts, an engine, the trainer, the link.

Everything here is a model, nothing is measured unless a constant says so. Units: seconds, bytes, tokens.
"""

import heapq
import os
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.config import RunConfig
from pipeline_lib.generation.sampling import deal_groups
from pipeline_lib.memory import H100, Architecture, memory_plan
from pipeline_lib.memory.plan import BYTES
from pipeline_lib.memory.remedy import LARGEST_SHARE, with_settings
from pipeline_lib.training.batches import TokenSequence, deal_by_tokens, split_by_tokens

DATA = Path(os.environ.get("LACONIC_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@dataclass(frozen=True, slots=True)
class Machine:
    """Machines of eight H100 SXM. Each constant with where it is from; *assumed* ones are round numbers that nobody measured here."""

    gpus: int = 8
    flops: float = 989e12  # a GPU's bfloat16, dense: NVIDIA's data sheet
    memory_bandwidth: float = 3.35e12  # a GPU's HBM3: NVIDIA's data sheet
    reached_bandwidth: float = 0.7  # share of it in decoding: assumed
    reached_flops: float = 0.5  # share of them in decoding and prefill: assumed
    host_seconds: float = 0.004  # a decoding step's scheduling, sampling and output: assumed
    reduce_seconds: float = 2e-5  # one all-reduce of tensor parallelism, of which a layer has two: assumed
    nvlink: float = 300e9  # within a machine: two thirds of the 450 GB/s each way of the data sheet, assumed
    network: float = 50e9  # what rank 0 sends to other machines: one adapter of 400 Gbit/s
    reload_seconds: float = 1.0  # an engine takes in weights, checks them and drops its prefix cache: assumed
    sleep_wake_seconds: float = 3.0  # a colocated engine sleeps and wakes, once a step: assumed
    grade_seconds: float = 0.5  # grading of the last group; the others are graded while others generate: assumed
    offload_seconds: float = 0.48e-9  # a weight's optimiser step on a machine's CPUs: measured, 0.82 s more for 1.7e9 weights

    def mfu(self, model: Architecture) -> float:
        """Share of `flops` that an update reaches, its recomputation not counted: measured for 0.6B and 1.7B (docs/performance.md)."""
        if model.experts:
            return 0.12  # assumed
        return 0.22 if model.parameters < 1e9 else 0.28 if model.parameters < 3e9 else 0.32  # the last: assumed


# Prompt, template and suffix: 198 characters a statement on average in deepscaler_train below difficulty 50, three a token.
PROMPT_TOKENS = 110
# Recorded runs that reason at length and were cut above 30k tokens. A length counts relative to its run's median; where that is above
# `MOST_MEDIAN`, the recording's own cut would be seen below ours.
LONG_RUNS = ("Sky-T1",)
SHORT_RUNS = ("short", "27B")
MOST_MEDIAN = 16_000
# In place of the recordings: mean of the log of a length relative to its run's median, and its standard deviations between
# prompts and among the samples of one (fitted to them; a test holds these numbers against the data).
LOGNORMAL = (0.28, 0.81, 0.67)


class Lengths:
    """Draws how long a step's rollouts are, relative to the median: a recorded problem a prompt, a recorded length of it a rollout."""

    def __init__(self, folder: Path = DATA) -> None:
        self.file = folder / "rollouts_skythought.parquet"
        self.groups = _recorded(self.file) if self.file.is_file() else []

    @property
    def source(self) -> str:
        """What is drawn from, in words."""
        if self.groups:
            return f"{sum(map(len, self.groups))} recorded rollouts of {len(self.groups)} problems ({self.file.name})"
        return "a lognormal with mean {}, deviation {} between and {} within prompts (no recordings found)".format(*LOGNORMAL)

    def draw(self, prompts: int, samples: int, seed: Sequence[int]) -> np.ndarray[Any, Any]:
        """Relative lengths of a step, prompts x samples."""
        draws = np.random.default_rng(seed)
        if self.groups:
            chosen = draws.integers(len(self.groups), size=prompts)
            return np.stack([draws.choice(self.groups[group], samples) for group in chosen])
        mean, between, within = LOGNORMAL
        return np.exp(mean + between * draws.normal(size=(prompts, 1)) + within * draws.normal(size=(prompts, samples)))


def _recorded(file: Path) -> list[np.ndarray[Any, Any]]:
    """The relative lengths of each problem's responses."""
    import pyarrow.parquet as pq

    rows = pq.read_table(file, columns=["model", "dataset", "problem", "n_tokens"]).to_pylist()
    runs: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for row in rows:
        is_long = row["model"].startswith(LONG_RUNS) and not any(word in row["model"] for word in SHORT_RUNS)
        if is_long and row["n_tokens"]:
            runs.setdefault((row["model"], row["dataset"]), []).append((row["problem"], row["n_tokens"]))
    problems: dict[str, list[float]] = {}
    for run in runs.values():
        median = float(np.median([tokens for _, tokens in run]))
        for problem, tokens in run if median < MOST_MEDIAN else []:
            problems.setdefault(problem, []).append(tokens / median)
    return [np.array(lengths) for lengths in problems.values()]


@dataclass(frozen=True, slots=True)
class Speed:
    """An engine by its roofline: what a decoding step reads and computes, and what its cache holds."""

    machine: Machine
    weights: float  # bytes a GPU that each step reads
    experts: float  # bytes a GPU of all experts
    expert_share: float  # of them, that a token is routed to
    token_bytes: float  # of the cache, a token and GPU
    token_flops: float  # a GPU
    host_seconds: float  # a step
    cache_tokens: int
    most_sequences: int

    @classmethod
    def of(cls, config: RunConfig, model: Architecture, machine: Machine, gpus: int, alone: bool) -> "Speed":
        """The engine of a run on so many GPUs, beside a trainer or `alone` on its cards; its cache is the memory plan's."""
        share = LARGEST_SHARE if alone else config.generation.gpu_memory_utilization
        settings = {"generation.gpu_memory_utilization": share, "compute.num_processes": gpus}
        parallel, size = config.generation.tensor_parallel, BYTES[config.generation.dtype]
        experts = model.layers * model.experts * 3 * model.hidden * model.feed_forward
        heads = max(model.key_value_heads / parallel, 1)
        return cls(
            machine=machine,
            weights=size * (matrix_parameters(model) - experts) / parallel,
            experts=size * experts / parallel,
            expert_share=model.experts_per_token / model.experts if model.experts else 0.0,
            token_bytes=2 * model.layers * heads * model.head_width * size,
            token_flops=2 * active_parameters(model) / parallel,
            host_seconds=machine.host_seconds + (parallel > 1) * 2 * model.layers * machine.reduce_seconds,
            cache_tokens=memory_plan(with_settings(config, settings), model, H100).cache_tokens,
            most_sequences=config.generation.max_num_seqs,
        )

    def decode_seconds(self, sequences: int, cached: float, steps: int) -> float:
        """So many steps of sequences that have `cached` tokens in all before them: each reads or computes, whichever takes longer."""
        bandwidth = self.machine.memory_bandwidth * self.machine.reached_bandwidth
        read = (self.weights + self.experts * (1 - (1 - self.expert_share) ** sequences)) / bandwidth
        token = self.token_bytes / bandwidth
        compute = sequences * self.token_flops / (self.machine.flops * self.machine.reached_flops)
        # Reading grows by a token a sequence and step; before `crossing` computing takes longer.
        crossing = min(max(((compute - read) / token - cached) / sequences, 0.0), steps)
        rest = steps - crossing
        reading = rest * (read + token * (cached + sequences * (crossing + (rest + 1) / 2)))
        return crossing * compute + reading + steps * self.host_seconds

    def prefill_seconds(self, tokens: int) -> float:
        """Tokens computed at once: a prompt, or a rollout whose cache was given up."""
        return tokens * self.token_flops / (self.machine.flops * self.machine.reached_flops)


def active_parameters(model: Architecture) -> int:
    """Weights that a token meets: of the experts those it is routed to, and of the embeddings the output layer alone."""
    idle = model.layers * (model.experts - model.experts_per_token) * 3 * model.hidden * model.feed_forward
    return matrix_parameters(model) - idle


def matrix_parameters(model: Architecture) -> int:
    """All weights but those of an input embedding that is no output layer, too: of these a token reads one row."""
    return model.parameters - (0 if model.is_tied else model.vocabulary * model.hidden)


class Rollout:
    """A response on its way: `done` of its `length` tokens were there when it was last taken in."""

    __slots__ = ("batch", "done", "length", "stamp", "taken_in")

    def __init__(self, batch: int, length: int) -> None:
        self.batch, self.length, self.done, self.taken_in, self.stamp = batch, length, 0, 0, -1


class Engine:
    """Continuous batching as vLLM does it: first come, first served; when the cache is full, the last one taken in gives its part up.

    Time goes from event to event (a rollout ends, the cache is full, a batch or new weights come), in whole decoding steps.
    """

    def __init__(self, speed: Speed) -> None:
        self.speed = speed
        self.now = self.busy_seconds = 0.0
        self.tokens = 0
        self.left: Counter[int] = Counter()
        self.ended: dict[int, float] = {}  # when the last rollout so far of a batch ended
        self._step = self._stamp = self._base = self._running = 0
        self._ends: list[tuple[int, int, Rollout]] = []
        self._taken_in: list[tuple[int, Rollout]] = []
        self._waiting: deque[Rollout] = deque()
        self._events: deque[tuple[float, float, bool, int, Sequence[int]]] = deque()

    def submit(self, at: float, batch: int, lengths: Sequence[int]) -> None:
        """A batch's rollouts arrive; events are given in the order of their times."""
        self.left[batch] += len(lengths)
        self._events.append((at, 0.0, False, batch, lengths))

    def pause(self, at: float, seconds: float, loses_cache: bool = False) -> None:
        """The engine stands still: new weights come, or the trainer has the GPU and the cache is gone."""
        self._events.append((at, seconds, loses_cache, -1, ()))

    def finish(self, batch: int) -> float:
        """Run until all of a batch has ended; return when that was (0.0 where none of it was sent here)."""
        while self.left[batch]:
            self._advance()
        return self.ended.get(batch, 0.0)

    def settle(self) -> None:
        """Run until all that was sent so far has come."""
        while self._events:
            self._advance()

    @property
    def _cached(self) -> int:
        return self._base + self._running * self._step

    def _advance(self) -> None:
        """Go on to the next event."""
        until = self._events[0][0] if self._events else float("inf")
        if self.now >= until:
            self._happen(*self._events.popleft())
            return
        self._take_in()
        if not self._running:
            assert self._events, "an engine waits for rollouts that nobody sent"
            self.now = max(self.now, until)
            return
        while self._ends[0][2].stamp != self._ends[0][1]:  # given up since
            heapq.heappop(self._ends)
        steps, room = self._ends[0][0] - self._step, (self.speed.cache_tokens - self._cached) // self._running
        if room < 1 and self._running > 1:
            self._give_up_last()
            return
        self._decode(min(steps, room) if self._running > 1 else steps, until)

    def _decode(self, steps: int, until: float) -> None:
        seconds = self.speed.decode_seconds(self._running, self._cached, steps)
        if self.now + seconds > until:
            steps = int(steps * (until - self.now) / seconds)
            seconds = until - self.now
        self.now += seconds
        self.busy_seconds += seconds
        self.tokens += steps * self._running
        self._step += steps
        while self._ends and self._ends[0][0] <= self._step:
            _, stamp, rollout = heapq.heappop(self._ends)
            if rollout.stamp == stamp:
                self._remove(rollout)
                self.left[rollout.batch] -= 1
                self.ended[rollout.batch] = self.now

    def _take_in(self) -> None:
        while self._waiting and self._running < self.speed.most_sequences:
            rollout = self._waiting[0]
            tokens = PROMPT_TOKENS + rollout.done
            if self._running and self._cached + tokens + self._running + 1 > self.speed.cache_tokens:
                return
            self._waiting.popleft()
            seconds = self.speed.prefill_seconds(tokens)
            self.now += seconds
            self.busy_seconds += seconds
            self._stamp += 1
            rollout.stamp, rollout.taken_in = self._stamp, self._step
            self._base += tokens - self._step
            self._running += 1
            heapq.heappush(self._ends, (self._step + rollout.length - rollout.done, self._stamp, rollout))
            self._taken_in.append((self._stamp, rollout))

    def _remove(self, rollout: Rollout) -> None:
        self._base -= PROMPT_TOKENS + rollout.done - rollout.taken_in
        self._running -= 1
        rollout.stamp = -1

    def _give_up_last(self) -> None:
        stamp, rollout = self._taken_in.pop()
        if rollout.stamp == stamp:
            self._remove(rollout)
            rollout.done += self._step - rollout.taken_in
            self._waiting.appendleft(rollout)

    def _happen(self, at: float, seconds: float, loses_cache: bool, batch: int, lengths: Sequence[int]) -> None:
        self._waiting.extend(Rollout(batch, length) for length in lengths)
        self.now = max(self.now, at) + seconds
        while loses_cache and self._taken_in:
            self._give_up_last()


def deal_lengths(lengths: np.ndarray[Any, Any], engines: int, whole_groups: bool = False) -> list[list[int]]:
    """Each engine's rollouts in turn: single ones, or as ranks have them today: whole groups, as far as these go around."""
    prompts, samples = lengths.shape
    size = samples if whole_groups and prompts % engines == 0 else 1
    parts = lengths.reshape(-1, size)
    shares = [deal_groups([range(len(parts))], engine, engines)[0] for engine in range(engines)]
    return [[int(length) for part in share for length in parts[part]] for share in shares]


def update_seconds(
    lengths: np.ndarray[Any, Any], ranks: int, config: RunConfig, model: Architecture, machine: Machine
) -> list[float]:
    """What each rank computes in the update of a batch: dealt, cut into micro-batches and padded as the trainer does it."""
    sequences = [TokenSequence(range(PROMPT_TOKENS), range(length), (), 1.0) for length in lengths.ravel().tolist()]
    linear, attention = 6 * active_parameters(model), 6 * model.layers * model.heads * model.head_width
    flops = []
    for share in deal_by_tokens(sequences, ranks):
        shapes = [(len(batch), batch[0].num_tokens) for batch in split_by_tokens(share, config.compute.micro_batch_tokens)]
        flops.append(sum(rows * (linear * width + attention * width**2) for rows, width in shapes))
    machines = -(-ranks // machine.gpus)
    offload = machine.offload_seconds * model.parameters / machines if config.compute.optimizer_offload else 0.0
    return [each / (machine.flops * machine.mfu(model)) + offload for each in flops]


def push_seconds(config: RunConfig, model: Architecture, machine: Machine, gpus: int) -> float:
    """From the trainer's first weight to the last engine's: over the network as soon as there are two machines."""
    link = machine.nvlink if gpus <= machine.gpus else machine.network
    return BYTES[config.generation.dtype] * model.parameters / link + machine.reload_seconds
