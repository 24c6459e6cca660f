"""Prompts in, judged rollouts out, in shards that survive a crash: what profiling and evaluation do with an engine."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.config import PromptSource
from pipeline_lib.files.home import below
from pipeline_lib.generation.protocol import Generator, OnFinished, Sampling, rollout_seed
from pipeline_lib.grading import grade_responses
from pipeline_lib.jobs import GenerateUnit
from pipeline_lib.messages.finite import NotFiniteError
from pipeline_lib.prompts.rendering import render_prompt
from pipeline_lib.records import Completion, Grade, Prompt, Rollout, Stage
from pipeline_lib.store.rollout_files import holds_rollouts, write_rollout_file

# Rollouts a shard: what a crash can lose, and how long the engine's tail of long responses may idle the rest of its batch.
SHARD_ROLLOUTS = 2048
# Room for the chat template when lengths are judged by bytes alone.
TEMPLATE_BYTES = 512

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled response with what produced it and how it was judged."""

    prompt: Prompt
    prompt_ids: list[int]
    sample_index: int
    completion: Completion
    grade: Grade

    @property
    def num_tokens(self) -> int:
        """Length of the response in tokens, the end token included."""
        return len(self.completion.token_ids)

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
            mean_logprob=sum(self.completion.logprobs) / max(self.num_tokens, 1),
        )


def sample_and_judge(
    generator: Generator,
    tokenizer: Any,
    source: PromptSource,
    prompts: Sequence[Prompt],
    num_samples: int,
    sampling: Sampling,
    seed_parts: tuple[object, ...],
    on_finished: OnFinished | None = None,
) -> tuple[list[Sample], float]:
    """`num_samples` judged samples per prompt, prompt by prompt, and the seconds that generation alone took.

    The draws depend on `seed_parts`, the prompt and the sample index only, not on what else is in the batch.
    """
    requests = [(prompt, index) for prompt in prompts for index in range(num_samples)]
    rendered = {prompt.prompt_id: render_prompt(tokenizer, source, prompt.problem) for prompt in prompts}
    seeds = [rollout_seed(*seed_parts, prompt.prompt_id, index) for prompt, index in requests]
    started = time.perf_counter()
    completions = generator.generate([rendered[prompt.prompt_id] for prompt, _ in requests], sampling, seeds, on_finished)
    seconds = time.perf_counter() - started
    grades = grade_responses(
        source.grader,
        [completion.text for completion in completions],
        [prompt.answer for prompt, _ in requests],
        [completion.finish_reason for completion in completions],
        tests=[prompt.tests for prompt, _ in requests],
        tolerances=[prompt.tolerance for prompt, _ in requests],
        sandbox=source.sandbox,
    )
    samples = [
        Sample(prompt, rendered[prompt.prompt_id], index, completion, grade)
        for (prompt, index), completion, grade in zip(requests, completions, grades, strict=True)
    ]
    return samples, seconds


def logprob_problem(samples: Sequence[Sample]) -> str | None:
    """The first sample with a token whose log-prob is not finite, which says that the model's weights are broken; None: none."""
    for sample in samples:
        # A sum of numbers that are never positive is finite only if all of them are.
        if not math.isfinite(total := sum(sample.completion.logprobs)):
            return f"the engine's log-prob is {total} for {sample.label}: the model gives no probabilities"
    return None


def surely_fits(source: PromptSource, prompt: Prompt, limit_tokens: int) -> bool:
    """Whether a prompt fits without asking the tokenizer: none makes more tokens of a text than it has bytes."""
    return len(prompt.problem.encode()) + TEMPLATE_BYTES + len(source.user_suffix) <= limit_tokens


def prompts_that_fit(
    tokenizer: Any, source: PromptSource, prompts: Sequence[Prompt], limit_tokens: int, skip: bool
) -> list[Prompt]:
    """The prompts of at most `limit_tokens` tokens once rendered; with `skip` the others are left out and logged.

    Raises ValueError for the first that is longer, unless `skip`.
    """
    fitting: list[Prompt] = []
    too_long: list[Prompt] = []
    for prompt in prompts:
        fits = surely_fits(source, prompt, limit_tokens)
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


def write_shards(
    generator: Generator,
    tokenizer: Any,
    unit: GenerateUnit,
    prompts: Sequence[Prompt],
    rank: int,
    world_size: int,
    report_progress: Callable[[int], None],
) -> int:
    """Generate what a `GenerateUnit` asks for, this rank's share of the shards; return the tokens generated.

    A whole shard that is there already is kept: an interrupted unit resumes where it stopped.
    """
    size = max(1, SHARD_ROLLOUTS // unit.num_samples)
    shards = [prompts[start : start + size] for start in range(0, len(prompts), size)]
    sampling = Sampling(unit.limit_tokens, unit.temperature, unit.top_p)
    num_tokens = 0
    for number, shard in enumerate(shards):
        path = below(Path(unit.output_folder), f"{unit.shard_prefix}-{number:05d}-of-{len(shards):05d}.parquet")
        if number % world_size != rank:
            continue
        if holds_rollouts(path, len(shard) * unit.num_samples):
            report_progress(len(shard) * unit.num_samples)
            continue
        samples, seconds = sample_and_judge(
            generator,
            tokenizer,
            unit.source,
            shard,
            unit.num_samples,
            sampling,
            (unit.seed, unit.stage, unit.step),
            report_progress,
        )
        if problem := logprob_problem(samples):
            raise NotFiniteError(f"{unit.stage}, step {unit.step}: {problem}")
        rollouts = [sample.rollout(unit.run_id, unit.stage, unit.step, unit.model, unit.source.name) for sample in samples]
        write_rollout_file(path, rollouts)
        shard_tokens = sum(rollout.num_tokens for rollout in rollouts)
        logger.info("%s: %d tokens at %.0f tokens/s", path.name, shard_tokens, shard_tokens / max(seconds, 1e-9))
        num_tokens += shard_tokens
    return num_tokens
