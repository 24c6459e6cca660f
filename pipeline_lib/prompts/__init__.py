"""Where problems come from: the built-in tiny world, a local Parquet or JSONL file, or the hub; and how they are rendered."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from pipeline_lib.config import PromptSource
from pipeline_lib.prompts.rendering import render_prompt
from pipeline_lib.prompts.tables import load_file_prompts, load_hub_prompts
from pipeline_lib.records import Prompt

__all__ = ["load_prompts", "render_prompt"]


def load_prompts(source: PromptSource) -> list[Prompt]:
    """The prompts of a source, each with a checkable answer; the same source always gives the same prompts in the same order.

    `num_prompts` of them, drawn by `seed`, else all. Raises ValueError when the source cannot be read or holds too few.
    """
    if source.kind == "tiny":
        return _draw_tiny_prompts(source)
    prompts = load_file_prompts(source) if source.kind == "file" else load_hub_prompts(source)
    if not prompts:
        raise ValueError(f"prompt source {source.name!r}: {source.path} holds no problem with an answer")
    return prompts if source.num_prompts is None else _draw(prompts, source.num_prompts, source)


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


def _draw(prompts: Sequence[Prompt], num_prompts: int, source: PromptSource) -> list[Prompt]:
    """A seeded draw that depends on the prompts' ids alone: order in the file and later additions hardly change it."""
    if num_prompts > len(prompts):
        raise ValueError(f"prompt source {source.name!r}: num_prompts = {num_prompts} is above the {len(prompts)} it holds")
    ranked = sorted(prompts, key=lambda prompt: hashlib.sha256(f"{source.seed}:{prompt.prompt_id}".encode()).digest())
    drawn_ids = {prompt.prompt_id for prompt in ranked[:num_prompts]}
    return [prompt for prompt in prompts if prompt.prompt_id in drawn_ids]
