"""No prompt twice in a step, every prompt equally often, and the draws of old where nothing had to move."""

from collections import Counter

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline_lib.records import Prompt
from pipeline_lib.training.batches import most_batches_of_step, prompts_of_step

PROMPTS = [Prompt(str(index), "s", "d", str(index), "0") for index in range(60)]
NUM_STEPS = 30


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[Prompt], int, int, int]:
    """Prompts, how many a step takes, how many batches a step may draw, and the seed."""
    size = draw(st.integers(1, len(PROMPTS)))
    prompts_per_step = draw(st.integers(1, size))
    batches = most_batches_of_step(size, prompts_per_step, draw(st.integers(0, 4)))
    return PROMPTS[:size], prompts_per_step, batches, draw(st.integers(0, 3))


def drawn(plan: tuple[list[Prompt], int, int, int]) -> list[list[Prompt]]:
    prompts, prompts_per_step, batches, seed = plan
    return [prompts_of_step(prompts, step, prompts_per_step, seed, batches) for step in range(1, NUM_STEPS + 1)]


@given(plans())
@settings(deadline=None)
def test_no_prompt_comes_twice_in_a_step_however_many_batches_it_draws(plan: tuple[list[Prompt], int, int, int]) -> None:
    prompts, prompts_per_step, most_batches, _ = plan
    assert most_batches * prompts_per_step <= len(prompts)
    batches = drawn(plan)
    for first in range(NUM_STEPS - most_batches + 1):  # a step may begin at any batch: the one before may have drawn several
        step = [prompt.prompt_id for batch in batches[first : first + most_batches] for prompt in batch]
        assert len(step) == len(set(step)) == most_batches * prompts_per_step


@given(plans())
@settings(deadline=None)
def test_every_prompt_is_seen_equally_often_to_within_one_at_any_step(plan: tuple[list[Prompt], int, int, int]) -> None:
    counts = Counter(prompt.prompt_id for prompt in plan[0])  # 1 each, so that one that is never drawn counts as well
    for batch in drawn(plan):
        counts.update(prompt.prompt_id for prompt in batch)
        assert max(counts.values()) - min(counts.values()) <= 1


@given(plans())
@settings(deadline=None)
def test_only_a_prompt_that_came_back_too_early_and_the_end_of_its_epoch_are_moved(
    plan: tuple[list[Prompt], int, int, int],
) -> None:
    prompts, prompts_per_step, _, seed = plan
    size = len(prompts)
    assume(size > 1)
    flat = [int(prompt.prompt_id) for batch in drawn((prompts, prompts_per_step, 1, seed)) for prompt in batch]
    for epoch in range(len(flat) // size):
        plain = np.random.default_rng([seed, epoch]).permutation(size)
        begun = epoch * size % prompts_per_step  # places of the epoch's first step that the former epoch fills
        kept = slice(prompts_per_step - begun if begun else 0, size - begun)
        assert flat[epoch * size : (epoch + 1) * size][kept] == plain[kept].tolist()
