"""Where problems come from: the built-in tiny world, Reasoning Gym, a local file, or the hub; and how they are rendered."""

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from pipeline_lib.config import PromptSource
from pipeline_lib.prompts.collecting import SourceContent, collect_prompts
from pipeline_lib.prompts.gym import draw_gym_prompts
from pipeline_lib.prompts.local_copies import resolve_source
from pipeline_lib.prompts.rendering import render_prompt
from pipeline_lib.prompts.tables import read_rows
from pipeline_lib.records import Prompt

__all__ = ["SourceContent", "load_prompts", "load_source", "render_prompt", "resolve_source"]

logger = logging.getLogger(__name__)


def load_prompts(source: PromptSource) -> list[Prompt]:
    """The prompts of a source, each with a checkable answer; the same source always gives the same prompts in the same order.

    `num_prompts` of them, drawn by `seed`, else all. What was left out is logged. Raises ValueError when the source cannot be
    read or holds too few.
    """
    content = load_source(source)
    for cause, count in Counter(left.cause for left in content.left_out).items():
        logger.warning("prompt source %r: %d rows left out: %s", source.name, count, cause)
    return list(content.prompts.values())


def load_source(source: PromptSource) -> SourceContent:
    """As `load_prompts`, with the rows that were left out and the pass rates recorded with the drawn prompts."""
    if source.kind == "tiny":
        return SourceContent({prompt.prompt_id: prompt for prompt in _draw_tiny_prompts(source)})
    if source.kind == "gym":
        return SourceContent({prompt.prompt_id: prompt for prompt in draw_gym_prompts(source)})
    source = resolve_source(source)
    content = collect_prompts(read_rows(source), source)
    if not content.prompts:
        raise ValueError(f"prompt source {source.name!r}: {source.path} holds no problem with an answer")
    if source.num_prompts is not None:
        content.prompts = _draw(content.prompts, source.num_prompts, source)
        content.pass_rates = {known: rate for known, rate in content.pass_rates.items() if known in content.prompts}
    return content


def _draw_tiny_prompts(source: PromptSource) -> list[Prompt]:
    from pipeline_lib.tiny_world.problems import draw_problems

    assert source.num_prompts is not None, "the configuration requires num_prompts for kind = 'tiny'"
    prompts = draw_problems(
        family=source.family,
        split=source.split,
        num_prompts=source.num_prompts,
        seed=source.seed,
        min_operations=source.min_operations,
        max_operations=source.max_operations,
        max_operand=source.max_operand,
    )
    return [replace(prompt, source=source.name, domain=source.domain) for prompt in prompts]


def _draw(prompts: Mapping[str, Prompt], num_prompts: int, source: PromptSource) -> dict[str, Prompt]:
    """A seeded draw that depends on the prompts' ids alone: order in the file and later additions hardly change it."""
    if num_prompts > len(prompts):
        raise ValueError(f"prompt source {source.name!r}: num_prompts = {num_prompts} is above the {len(prompts)} it holds")
    ranked = sorted(prompts, key=lambda prompt_id: hashlib.sha256(f"{source.seed}:{prompt_id}".encode()).digest())
    drawn_ids = set(ranked[:num_prompts])
    return {prompt_id: prompt for prompt_id, prompt in prompts.items() if prompt_id in drawn_ids}
