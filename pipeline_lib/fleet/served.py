"""The fleet of a model that is served elsewhere: no process of ours, but many requests at once, and shards as they become whole."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline_lib.config import RunConfig
from pipeline_lib.generation.endpoint import Endpoint, EndpointFailed, read_key
from pipeline_lib.generation.protocol import Sampling, rollout_seed
from pipeline_lib.generation.sampling import GroupGrader, Sample, missing_groups, prompts_that_fit, write_shard
from pipeline_lib.jobs import GenerateJob, GenerateUnit, TrainJob, read_prompts
from pipeline_lib.messages.faults import RESUMES
from pipeline_lib.prompts.rendering import template_arguments, turns
from pipeline_lib.records import Completion, EndpointUsage, Prompt

# Rollouts a shard: what is lost of it was paid for. Finished stages make few large files of them.
SHARD_ROLLOUTS = 64
POLL_SECONDS = 0.1
NOTE_SECONDS = 5.0

logger = logging.getLogger(__name__)


class ServedFleet:
    """Sends the requests of jobs from a thread of this process. `on_usage` hears what was asked so far, again and again."""

    is_running = True

    def __init__(self, config: RunConfig, on_usage: Callable[[EndpointUsage], None]) -> None:
        self._config, self._on_usage = config, on_usage
        self._requests: _Requests | None = None

    def start(self) -> None:
        """See `Fleet.start`. Raises ValueError where the key's variable holds no key."""
        assert self._config.generation.endpoint, "the configuration requires it"
        read_key(self._config.generation.endpoint)

    def run(self, job: GenerateJob | TrainJob, on_progress: Callable[[dict[str, Any]], None] | None = None) -> Any:
        """See `Fleet.run`. Raises EndpointFailed."""
        if isinstance(job, TrainJob):
            raise ValueError("a model that is served elsewhere is not trained")
        requests = self._requests = _Requests(self._config, job)
        started, noted = datetime.now(UTC), time.monotonic()
        thread = ThreadPoolExecutor(1, "endpoint")
        work: Future[None] = thread.submit(requests.send_all)
        try:
            is_done = False
            while not is_done:
                is_done = bool(wait([work], POLL_SECONDS).done)
                if on_progress and requests.total:
                    on_progress(requests.progress())
                if time.monotonic() > noted + NOTE_SECONDS:
                    self._note(self._usage(requests, started))
                    noted = time.monotonic()
            work.result()
        finally:
            requests.cancel()
            thread.shutdown()
            self._note(usage := self._usage(requests, started))
        cost = {} if usage.cost is None else {f"cost_{usage.currency.lower()}": usage.cost}
        counts = {"num_tokens": usage.output_tokens, "input_tokens": usage.input_tokens, "retries": usage.retries}
        return {"rollouts": requests.total, **counts, **cost, "seconds": usage.seconds}

    def _note(self, usage: EndpointUsage) -> None:
        try:
            self._on_usage(usage)
        except Exception as error:  # responses that were paid for must not be lost by it
            logger.warning("what was asked of the endpoint could not be noted: %s", error)

    def _usage(self, requests: "_Requests", started: datetime) -> EndpointUsage:
        spent, prices = requests.endpoint.usage, self._config.prices
        return EndpointUsage(
            run_id=requests.units[0].run_id,
            stage=requests.units[0].stage,
            started_at=started,
            model=self._config.base_model,
            requests=spent.requests,
            retries=spent.retries,
            input_tokens=spent.input_tokens,
            output_tokens=spent.output_tokens,
            seconds=(datetime.now(UTC) - started).total_seconds(),
            cost=prices.of_tokens(spent.input_tokens, spent.output_tokens),
            currency=prices.currency,
        )

    def restart(self) -> None:
        """See `Fleet.restart`: there is nothing of ours that could be left."""

    def close(self) -> None:
        """See `Fleet.close`."""

    def kill(self) -> None:
        """See `Fleet.kill`: what has not been answered is given up."""
        if self._requests:
            self._requests.cancel()


@dataclass(slots=True)
class _Shard:
    """Some whole groups of a unit, and which of their responses have come, by their number among these."""

    unit: GenerateUnit
    first: int
    requests: list[tuple[Prompt, int]]
    completions: dict[int, Completion] = field(default_factory=dict)
    began: float = 0.0


class _Requests:
    """The requests that a job is made of."""

    def __init__(self, config: RunConfig, job: GenerateJob) -> None:
        assert config.generation.endpoint, "the configuration requires it"
        self._config, self._settings = config, config.generation.endpoint
        self.endpoint = Endpoint(self._settings, config.base_model)
        self.units: Sequence[GenerateUnit] = job.units
        self.total, self._done, self._started = 0, 0, time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._changing, self._is_cancelled = threading.Lock(), False

    def progress(self) -> dict[str, Any]:
        return {"done": self._done, "total": self.total, "seconds": time.monotonic() - self._started}

    def cancel(self) -> None:
        """Give up what has not been answered."""
        with self._changing:
            self._is_cancelled = True
            if self._loop and self._task and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._task.cancel)

    def send_all(self) -> None:
        """Have every rollout that no shard holds, and write the shards. Raises EndpointFailed."""
        shards = [shard for unit in self.units for shard in self._shards(unit)]
        try:
            asyncio.run(self._send(shards))
        except asyncio.CancelledError:
            raise EndpointFailed("what the endpoint had not answered was given up") from None
        except BaseExceptionGroup as several:  # of the workers; the first has ended the others
            raise several.exceptions[0] from None
        except TimeoutError:
            raise EndpointFailed(
                f"generation.endpoint.stage_seconds = {self._settings.stage_seconds:g} are over with {self._done} of {self.total} "
                f"responses; {RESUMES}"
            ) from None

    def _shards(self, unit: GenerateUnit) -> Iterator[_Shard]:
        prompts = read_prompts(Path(unit.prompts_file))
        if (tokenizer := self.endpoint.tokenizer) is not None:
            limit = self._config.generation.max_prompt_tokens
            prompts = prompts_that_fit(tokenizer, unit.source, prompts, limit, skip=unit.stage == "profile")
        missing = missing_groups(unit, prompts)
        self.total += len(prompts) * unit.num_samples
        self._done += (len(prompts) - len(missing)) * unit.num_samples
        size = max(1, SHARD_ROLLOUTS // unit.num_samples)
        for start in range(0, len(missing), size):
            chosen = missing[start : start + size]
            yield _Shard(unit, chosen[0], [(prompts[number], index) for number in chosen for index in range(unit.num_samples)])

    async def _send(self, shards: Sequence[_Shard]) -> None:
        with self._changing:
            if self._is_cancelled:
                return
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._writing = asyncio.Lock()
        left = ((shard, number) for shard in shards for number in range(len(shard.requests)))
        async with self.endpoint, asyncio.timeout(self._settings.stage_seconds), asyncio.TaskGroup() as group:
            for _ in range(self._settings.concurrency):
                group.create_task(self._work_off(left))

    async def _work_off(self, left: Iterator[tuple[_Shard, int]]) -> None:
        """One request after another, each the next that nobody has begun."""
        for shard, number in left:
            unit, (prompt, index) = shard.unit, shard.requests[number]
            shard.began = shard.began or time.monotonic()
            seed = rollout_seed(unit.seed, unit.stage, unit.step, prompt.prompt_id, index)
            shard.completions[number] = await self.endpoint.complete(
                turns(unit.source, prompt.problem),
                template_arguments(unit.source),
                Sampling(unit.limit_tokens, unit.temperature, unit.top_p),
                seed,
            )
            self._done += 1
            if len(shard.completions) == len(shard.requests):
                async with self._writing:
                    await asyncio.to_thread(_write, shard)


def _write(shard: _Shard) -> None:
    with GroupGrader(shard.unit.source, [prompt for prompt, _ in shard.requests]) as grader:
        for number, completion in shard.completions.items():
            grader.take(number, completion)
        judged = grader.judged()
    samples = [
        Sample(prompt, [], index, shard.completions[number], *judged[number])
        for number, (prompt, index) in enumerate(shard.requests)
    ]
    write_shard(shard.unit, shard.first, samples, time.monotonic() - shard.began)
    shard.completions, shard.requests = {}, []
