"""The warm-up corpus: problems of the train split with correct traces, tokenised and packed into batches of equal size."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from pipeline_lib.config import WarmupConfig
from pipeline_lib.tiny_world.problems import FAMILIES, random_problem, split_of
from pipeline_lib.tiny_world.tokenizer import render_prompt
from pipeline_lib.tiny_world.traces import Trace, draw_style, draw_trace

# The curriculum starts with the one style that is learned fastest, on problems of at most this many operations.
CURRICULUM_MAX_OPERATIONS = 3
CURRICULUM_STYLE = "count"
# Samples are sorted by length within windows of this many: larger ones save padding, but make the steps less alike.
SORT_WINDOW_SAMPLES = 128


@dataclass(frozen=True, slots=True)
class Sample:
    """Prompt and response in tokens; the loss is on the response, end token included."""

    token_ids: list[int]
    prompt_tokens: int


def draw_corpus(config: WarmupConfig, tokenizer: PreTrainedTokenizerFast) -> list[Sample]:
    """Samples in training order until `train_tokens` are reached, drawn from `seed`; the curriculum comes first."""
    rng = random.Random(config.seed)
    samples: list[Sample] = []
    num_tokens = 0
    while num_tokens < config.train_tokens:
        curriculum = num_tokens < config.curriculum_fraction * config.train_tokens
        sample = _encode(draw_training_trace(config, rng, curriculum), tokenizer)
        if len(sample.token_ids) - sample.prompt_tokens > config.max_response_tokens:
            continue
        samples.append(sample)
        num_tokens += len(sample.token_ids)
    return samples


def draw_training_trace(config: WarmupConfig, rng: random.Random, curriculum: bool) -> Trace:
    """One trace on a problem of the train split, with the decaying lengths and operands of the recipe."""
    family = FAMILIES["wheel" if rng.random() < config.wheel_fraction else "sum"]
    lengths = range(1, (CURRICULUM_MAX_OPERATIONS if curriculum else config.max_operations) + 1)
    operand_weights = [config.operand_decay ** (operand - 1) for operand in range(1, config.max_operand + 1)]
    style = CURRICULUM_STYLE if curriculum else draw_style(rng, config.style_weights)
    num_operations = rng.choices(lengths, weights=[config.operations_decay**length for length in lengths])[0]
    while True:
        problem = random_problem(family, num_operations, rng, config.max_operand, operand_weights)
        if split_of(problem) == "train":
            return draw_trace(problem, style, rng)


def _encode(trace: Trace, tokenizer: PreTrainedTokenizerFast) -> Sample:
    prompt = tokenizer.encode(render_prompt(tokenizer, trace.problem))
    response = tokenizer.encode(trace.response)
    return Sample([*prompt, *response, tokenizer.eos_token_id], len(prompt))


def pack_batches(samples: list[Sample], step_tokens: int, seed: int) -> list[list[Sample]]:
    """Batches of at most `step_tokens` padded tokens (at least one sample), windows in order, shuffled within a window."""
    rng = random.Random(seed)
    batches: list[list[Sample]] = []
    for first in range(0, len(samples), SORT_WINDOW_SAMPLES):
        window = sorted(samples[first : first + SORT_WINDOW_SAMPLES], key=lambda sample: len(sample.token_ids))
        window_batches = list(_split_window(window, step_tokens))
        rng.shuffle(window_batches)
        batches += window_batches
    return batches


def _split_window(window: list[Sample], step_tokens: int) -> Iterator[list[Sample]]:
    batch: list[Sample] = []
    for sample in window:
        if batch and (len(batch) + 1) * len(sample.token_ids) > step_tokens:
            yield batch
            batch = []
        batch.append(sample)
    if batch:
        yield batch
