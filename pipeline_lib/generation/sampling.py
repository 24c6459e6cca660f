"""Prompts in, judged rollouts out, in shards that survive a crash: what profiling and evaluation do with an engine."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.anatomy import Anatomy, dissect
from pipeline_lib.config import PromptSource
from pipeline_lib.files.home import below
from pipeline_lib.generation.protocol import Generator, Sampling, rollout_seed
from pipeline_lib.grading import grade_prompts
from pipeline_lib.jobs import GenerateUnit
from pipeline_lib.messages.finite import NotFiniteError
from pipeline_lib.prompts.rendering import render_prompt
from pipeline_lib.records import Completion, Grade, Prompt, Rollout, Stage
from pipeline_lib.store.rollout_files import stage_files, whole_groups, write_rollout_file

# Rollouts a shard: what a crash can lose, and how long the engine's tail of long responses may idle the rest of its batch.
SHARD_ROLLOUTS = 2048
# Tokens that a problem may cost in what stands around it.
JOINED_TOKENS = 8

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled response with what produced it and how it was judged."""

    prompt: Prompt
    prompt_ids: list[int]
    sample_index: int
    completion: Completion
    grade: Grade
    anatomy: Anatomy | None = None

    @property
    def num_tokens(self) -> int:
        """Length of the response in tokens, the end token included."""
        return self.completion.num_tokens

    @property
    def label(self) -> str:
        """The sample in a message."""
        judged = "correct" if self.grade.correct else "incorrect"
        return f"sample {self.sample_index} of prompt {self.prompt.prompt_id!r} ({self.num_tokens} tokens, {judged})"

    def rollout(self, run_id: str, stage: Stage, step: int, model: str, source: str) -> Rollout:
        """The sample as a row of the `rollouts` view."""
        return Rollout(
            run_id=run_id,
            stage=stage,
            step=step,
            model=model,
            source=source,
            prompt_id=self.prompt.prompt_id,
            sample_index=self.sample_index,
            num_tokens=self.num_tokens,
            finish_reason=self.completion.finish_reason,
            answer=self.grade.answer,
            correct=self.grade.correct,
            grade_reason=self.grade.reason,
            text=self.completion.text,
            mean_logprob=sum(logprobs) / len(logprobs) if (logprobs := self.completion.logprobs) else None,
            num_prompt_tokens=len(self.prompt_ids) or self.completion.counted_prompt_tokens,
            **(asdict(self.anatomy) if self.anatomy else {}),
        )


def sample_and_judge(
    generator: Generator,
    tokenizer: Any,
    source: PromptSource,
    prompts: Sequence[Prompt],
    num_samples: int,
    sampling: Sampling,
    seed_parts: tuple[object, ...],
    report_progress: Callable[[int], None] = lambda finished: None,
    part: slice = slice(None),
) -> tuple[list[Sample], float]:
    """`num_samples` judged samples per prompt, prompt by prompt, and the seconds that generation alone took; or only `part` of them.

    The draws depend on `seed_parts`, the prompt and the sample index only, not on what else is in the batch. A group is graded
    while others are still generated. `report_progress` is told how many more samples are generated.
    """
    requests = [(prompt, index) for prompt in prompts for index in range(num_samples)][part]
    rendered = {prompt.prompt_id: render_prompt(tokenizer, source, prompt.problem) for prompt in prompts}
    seeds = [rollout_seed(*seed_parts, prompt.prompt_id, index) for prompt, index in requests]
    with GroupGrader(source, [prompt for prompt, _ in requests]) as grader:

        def on_finished(number: int, completion: Completion) -> None:
            grader.take(number, completion)
            report_progress(1)

        started = time.perf_counter()
        completions = generator.generate([rendered[prompt.prompt_id] for prompt, _ in requests], sampling, seeds, on_finished)
        seconds = time.perf_counter() - started
        judged = grader.judged()
    samples = [
        Sample(prompt, rendered[prompt.prompt_id], index, completion, grade, anatomy)
        for (prompt, index), completion, (grade, anatomy) in zip(requests, completions, judged, strict=True)
    ]
    return samples, seconds


class GroupGrader:
    """Grades and dissects samples, which are given by their prompts, in a thread: all those of a prompt as soon as they are there.

    Groups that finish while others are being graded are graded together: that keeps all processes of a grader busy.
    """

    def __init__(self, source: PromptSource, prompts: Sequence[Prompt]) -> None:
        self._source, self._prompts = source, prompts
        self._left: dict[str, list[int]] = {prompt.prompt_id: [] for prompt in prompts}
        for number, prompt in enumerate(prompts):
            self._left[prompt.prompt_id].append(number)
        self._groups = {prompt_id: tuple(numbers) for prompt_id, numbers in self._left.items()}
        self._completions: dict[int, Completion] = {}
        self._judged: dict[int, tuple[Grade, Anatomy]] = {}
        self._whole: deque[str] = deque()
        self._thread = ThreadPoolExecutor(1, "grading")
        self._work: list[Future[None]] = []

    def __enter__(self) -> "GroupGrader":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def take(self, number: int, completion: Completion) -> None:
        """Take in a sample by its number."""
        prompt_id = self._prompts[number].prompt_id
        self._completions[number] = completion
        self._left[prompt_id].remove(number)
        if not self._left[prompt_id]:
            self._whole.append(prompt_id)
            self._work.append(self._thread.submit(self._grade_whole))

    def judged(self) -> list[tuple[Grade, Anatomy]]:
        """Grade and anatomy of all samples, by number, when all have been taken in. Raises what grading has raised."""
        for work in self._work:
            work.result()
        return [self._judged[number] for number in range(len(self._prompts))]

    def _grade_whole(self) -> None:
        numbers = [number for _ in range(len(self._whole)) for number in self._groups[self._whole.popleft()]]
        if not numbers:  # graded with those before
            return
        completions, prompts = [self._completions[number] for number in numbers], [self._prompts[number] for number in numbers]
        texts, finishes = zip(*((each.text, each.finish_reason) for each in completions), strict=True)
        grades = grade_prompts(self._source, texts, prompts, finishes)
        for number, completion, prompt, grade in zip(numbers, completions, prompts, grades, strict=True):
            self._judged[number] = grade, dissect(completion.text, completion.num_tokens, prompt, grade)


def logprob_problem(samples: Sequence[Sample]) -> str | None:
    """The first sample with a token whose log-prob is not finite, which says that the model's weights are broken; None: none."""
    for sample in samples:
        # A sum of numbers that are never positive is finite only if all of them are.
        if not math.isfinite(total := sum(sample.completion.logprobs)):
            return f"the engine's log-prob is {total} for {sample.label}: the model gives no probabilities"
    return None


def prompts_that_fit(
    tokenizer: Any, source: PromptSource, prompts: Sequence[Prompt], limit_tokens: int, skip: bool
) -> list[Prompt]:
    """The prompts of at most `limit_tokens` tokens once rendered; with `skip` the others are left out and logged.

    Raises ValueError for the first that is longer, unless `skip`.
    """
    fitting: list[Prompt] = []
    too_long: list[Prompt] = []
    # A text has no more tokens than bytes.
    around = len(render_prompt(tokenizer, source, ".")) + JOINED_TOKENS if prompts else 0
    for prompt in prompts:
        fits = around + len(prompt.problem.encode()) <= limit_tokens
        length = 0 if fits else len(render_prompt(tokenizer, source, prompt.problem))
        (too_long if length > limit_tokens else fitting).append(prompt)
        if too_long and not skip:
            raise ValueError(
                f"prompt {prompt.prompt_id!r} of {source.name!r} has {length} tokens, above generation.max_prompt_tokens = "
                f"{limit_tokens}"
            )
    if too_long:
        logger.warning("%s: %d prompts longer than %d tokens left out", source.name, len(too_long), limit_tokens)
    return fitting


def missing_groups(unit: GenerateUnit, prompts: Sequence[Prompt]) -> list[int]:
    """The prompts, by their number, whose rollouts no shard of an interrupted unit holds; what is no whole shard is deleted.

    Shards count by what is in them, so that one is kept however the prompts were cut and whatever number of ranks there was.
    """
    held: set[str] = set()
    for path in stage_files(Path(unit.output_folder), f"{unit.shard_prefix}-"):
        groups = whole_groups(path, unit.num_samples)
        if not groups:
            logger.warning("%s is damaged, and made again", path)
            path.unlink()
        held |= groups
    return [number for number, prompt in enumerate(prompts) if prompt.prompt_id not in held]


def deal_groups(missing: Sequence[Sequence[int]], rank: int, num_ranks: int) -> list[list[int]]:
    """One rank's prompts of each unit of a job: dealt in turn, so that ranks differ by one at most, in a unit and in all."""
    shares, dealt = [], 0
    for groups in missing:
        shares.append(list(groups[(rank - dealt) % num_ranks :: num_ranks]))
        dealt += len(groups)
    return shares


def write_shards(
    generator: Generator,
    tokenizer: Any,
    unit: GenerateUnit,
    prompts: Sequence[Prompt],
    groups: Sequence[int],
    report_progress: Callable[[int], None],
) -> int:
    """Generate the groups of some of a unit's prompts, given by their numbers; return the tokens generated.

    A shard is called after its first prompt, which no other holds.
    """
    size = max(1, SHARD_ROLLOUTS // unit.num_samples)
    sampling = Sampling(unit.limit_tokens, unit.temperature, unit.top_p)
    num_tokens = 0
    for start in range(0, len(groups), size):
        shard = groups[start : start + size]
        samples, seconds = sample_and_judge(
            generator,
            tokenizer,
            unit.source,
            [prompts[number] for number in shard],
            unit.num_samples,
            sampling,
            (unit.seed, unit.stage, unit.step),
            report_progress,
        )
        num_tokens += write_shard(unit, shard[0], samples, seconds)
    return num_tokens


def write_shard(unit: GenerateUnit, first: int, samples: Sequence[Sample], seconds: float) -> int:
    """Write the judged samples of whole groups, `first` being the number of their first prompt; return their tokens."""
    if problem := logprob_problem(samples):
        raise NotFiniteError(f"{unit.stage}, step {unit.step}: {problem}")
    path = below(Path(unit.output_folder), f"{unit.shard_prefix}-{first:06d}.parquet")
    rollouts = [sample.rollout(unit.run_id, unit.stage, unit.step, unit.model, unit.source.name) for sample in samples]
    write_rollout_file(path, rollouts)
    num_tokens = sum(rollout.num_tokens for rollout in rollouts)
    logger.info("%s: %d tokens at %.0f tokens/s", path.name, num_tokens, num_tokens / max(seconds, 1e-9))
    return num_tokens
