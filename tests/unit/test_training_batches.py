"""Which prompts a step sees, and micro-batches."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from pipeline_lib.records import Prompt
from pipeline_lib.training.batches import PaddedBatch, TokenSequence, deal_by_tokens, prompts_of_step, split_by_tokens

PROMPTS = [Prompt(f"p{index}", "s", "d", str(index), "0") for index in range(10)]


def test_an_epoch_sees_every_prompt_once_and_is_shuffled() -> None:
    first_epoch = [prompt for step in (1, 2) for prompt in prompts_of_step(PROMPTS, step, 5, seed=0)]
    assert Counter(first_epoch) == Counter(PROMPTS)
    assert first_epoch != PROMPTS
    second_epoch = [prompt for step in (3, 4) for prompt in prompts_of_step(PROMPTS, step, 5, seed=0)]
    assert Counter(second_epoch) == Counter(PROMPTS)
    assert second_epoch != first_epoch
    assert prompts_of_step(PROMPTS, 1, 5, seed=1) != first_epoch[:5]


def test_a_step_that_straddles_two_epochs_continues_in_the_next() -> None:
    taken = [prompt for step in (1, 2, 3, 4, 5) for prompt in prompts_of_step(PROMPTS, step, 4, seed=0)]
    assert Counter(taken[:10]) == Counter(PROMPTS)
    assert Counter(taken[10:]) == Counter(PROMPTS)


def test_a_step_across_an_epochs_end_holds_no_prompt_twice() -> None:
    """Prompt 1 ends the first epoch and would open the second, too: it changes places with the second's last, 5."""
    steps = [prompts_of_step(PROMPTS, step, 4, seed=0) for step in range(1, 6)]
    assert [[int(prompt.problem) for prompt in step] for step in steps] == [
        [4, 6, 2, 7],
        [3, 5, 9, 0],
        [8, 1, 9, 5],
        [3, 8, 7, 6],
        [0, 4, 2, 1],
    ]


def test_more_places_than_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="1 x prompts_per_step = 11 is above the 10 prompts"):
        prompts_of_step(PROMPTS, 1, 11, seed=0)


def sequence(prompt: int, response: int) -> TokenSequence:
    return TokenSequence([1] * prompt, [2] * response, [-0.5] * response, 1.0)


def test_micro_batches_hold_everything_within_the_padded_budget() -> None:
    sequences = [sequence(3, length) for length in (5, 50, 7, 20, 21, 6, 90)]
    batches = split_by_tokens(sequences, 60)
    assert sorted(s.num_tokens for batch in batches for s in batch) == sorted(s.num_tokens for s in sequences)
    for batch in batches:
        assert len(batch) == 1 or max(s.num_tokens for s in batch) * len(batch) <= 60
    assert max(len(batch) for batch in batches) > 1


def first_fit_decreasing(lengths: list[int], budget: int) -> list[list[int]]:
    batches: list[list[int]] = []
    for length in sorted(lengths, reverse=True):
        fitting = [batch for batch in batches if max(batch) * (len(batch) + 1) <= budget]
        (fitting[0] if fitting else batches).append(length if fitting else [length])  # type: ignore[arg-type]
    return batches


def fewest_batches(lengths: list[int], budget: int) -> int:
    """By trying every batch that the longest may be in."""
    if not lengths:
        return 0
    longest, *others = sorted(lengths, reverse=True)
    room = max(1, budget // longest) - 1
    return 1 + min(
        fewest_batches(list((Counter(others) - Counter(chosen)).elements()), budget)
        for size in range(min(room, len(others)) + 1)
        for chosen in set(itertools.combinations(others, size))
    )


def test_micro_batches_are_filled_first_fit_decreasing_and_no_cut_makes_fewer() -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        lengths = random.integers(2, 100, size=7).tolist()
        batches = [[s.num_tokens for s in batch] for batch in split_by_tokens([sequence(1, n - 1) for n in lengths], 120)]
        assert batches == first_fit_decreasing(lengths, 120)
        assert len(batches) == fewest_batches(lengths, 120)


def test_tokens_are_dealt_over_ranks_within_five_percent() -> None:
    """30 groups of 8 as they may come from 8 ranks, whose lengths are alike within a group; and on one rank nothing changes."""
    random = np.random.default_rng(0)
    means = 300 * np.exp(random.normal(0, 0.5, 30))
    lengths = np.minimum(means[:, None] * np.exp(random.normal(0, 0.45, (30, 8))), 1500).astype(int) + 1
    sequences = [sequence(1, int(length)) for length in lengths.flatten()]
    shares = deal_by_tokens(sequences, 8)
    tokens = [sum(each.num_tokens for each in share) for share in shares]
    assert max(tokens) < 1.05 * np.mean(tokens)
    as_generated = [lengths[rank::8].sum() for rank in range(8)]
    assert max(as_generated) > 1.15 * np.mean(as_generated)
    assert sorted(map(id, sequences)) == sorted(id(each) for share in shares for each in share)
    [own] = deal_by_tokens(sequences, 1)
    assert list(map(id, own)) == list(map(id, sequences))
    assert deal_by_tokens([], 2) == [[], []]


def test_padding_masks_exactly_the_response_tokens() -> None:
    batch = PaddedBatch.from_sequences([sequence(2, 3), sequence(1, 1)], torch.device("cpu"))
    assert batch.input_ids_BT.tolist() == [[1, 1, 2, 2, 2], [1, 2, 0, 0, 0]]
    assert batch.response_mask_BT.int().tolist() == [[0, 0, 1, 1, 1], [0, 1, 0, 0, 0]]
    assert batch.engine_logprobs_BT.tolist() == [[0, 0, -0.5, -0.5, -0.5], [0, -0.5, 0, 0, 0]]
    assert batch.signal_B.tolist() == [True, True]
