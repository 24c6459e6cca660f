"""Which prompts a step sees, micro-batches, and which optimiser step uses which group."""

from collections import Counter

import pytest
import torch

from pipeline_lib.config import RewardConfig
from pipeline_lib.generation.sampling import Sample
from pipeline_lib.records import Completion, Grade, Prompt
from pipeline_lib.rewards import make_reward
from pipeline_lib.training.batches import PaddedBatch, TokenSequence, prompts_of_step, split_by_tokens
from pipeline_lib.training.groups import RolloutGroups

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


def sequence(prompt: int, response: int) -> TokenSequence:
    return TokenSequence([1] * prompt, [2] * response, [-0.5] * response, 1.0)


def test_micro_batches_hold_everything_within_the_padded_budget() -> None:
    sequences = [sequence(3, length) for length in (5, 50, 7, 20, 21, 6, 90)]
    batches = split_by_tokens(sequences, 60)
    assert sorted(s.num_tokens for batch in batches for s in batch) == sorted(s.num_tokens for s in sequences)
    for batch in batches:
        assert len(batch) == 1 or max(s.num_tokens for s in batch) * len(batch) <= 60
    assert max(len(batch) for batch in batches) > 1


def test_padding_masks_exactly_the_response_tokens() -> None:
    batch = PaddedBatch.from_sequences([sequence(2, 3), sequence(1, 1)], torch.device("cpu"))
    assert batch.input_ids_BT.tolist() == [[1, 1, 2, 2, 2], [1, 2, 0, 0, 0]]
    assert batch.response_mask_BT.int().tolist() == [[0, 0, 1, 1, 1], [0, 1, 0, 0, 0]]
    assert batch.engine_logprobs_BT.tolist() == [[0, 0, -0.5, -0.5, -0.5], [0, -0.5, 0, 0, 0]]
    assert batch.has_signal


def samples(correct_by_group: list[list[bool]], lengths: list[list[int]]) -> list[Sample]:
    rows = []
    for group, (judged, tokens) in enumerate(zip(correct_by_group, lengths, strict=True)):
        for index, (right, length) in enumerate(zip(judged, tokens, strict=True)):
            completion = Completion([5] * length, [-0.1] * length, "", "stop")
            rows.append(Sample(PROMPTS[group], [1, 2], index, completion, Grade("0", right, "correct" if right else "wrong")))
    return rows


@pytest.fixture
def groups() -> RolloutGroups:
    """Group 0: mixed. Group 1: all right but one too long. Group 2: nothing right. Group 3: all right and short."""
    correct = [[True, False], [True, True], [False, False], [True, True]]
    lengths = [[4, 4], [4, 11], [4, 4], [4, 10]]
    made = RolloutGroups(samples(correct, lengths), num_rollouts=2, staleness=2)
    made.assign_rewards(make_reward(RewardConfig(name="truncation", target_tokens=10)))
    return made


def test_rewards_and_advantages_by_hand(groups: RolloutGroups) -> None:
    assert groups.rewards_PN.tolist() == [[1, 0], [1, 0], [0, 0], [1, 1]]
    expected = 0.5 / (0.5**0.5 + 1e-4)
    assert groups.advantages_PN[0].tolist() == pytest.approx([expected, -expected])
    assert groups.advantages_PN[2:].tolist() == [[0, 0], [0, 0]]


def test_groups_without_a_signal_are_not_trained_on_and_lag_counts_optimizer_steps(groups: RolloutGroups) -> None:
    assert [groups.policy_lag(group) for group in range(4)] == [0, 1, 0, 1]
    first, second = groups.sequences(0), groups.sequences(1)
    assert [len(s.response_ids) for s in first] == [4, 4]
    assert [len(s.response_ids) for s in second] == [4, 11]
    rows = groups.rollouts("run", 3, "model", "source")
    assert [row.policy_lag for row in rows] == [0, 0, 1, 1, 0, 0, 1, 1]
    assert [row.reward for row in rows] == [1, 0, 1, 0, 0, 0, 1, 1]
    assert {row.step for row in rows} == {3}
