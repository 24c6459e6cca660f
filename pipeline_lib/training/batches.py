"""Which prompts a step sees, and how token sequences are cut into padded micro-batches.

Shape suffixes: B sequences of a micro-batch, T padded tokens.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipeline_lib.records import Prompt


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """A prompt and its response as token ids, with the advantage and the engine's log-prob of every response token."""

    prompt_ids: Sequence[int] | np.ndarray
    response_ids: Sequence[int] | np.ndarray
    engine_logprobs: Sequence[float] | np.ndarray
    advantage: float
    is_filler: bool = False
    label: str = ""  # names the rollout in a message

    @property
    def num_tokens(self) -> int:
        """Length of prompt and response in tokens."""
        return len(self.prompt_ids) + len(self.response_ids)


def most_batches_of_step(num_prompts: int, prompts_per_step: int, dynamic_sampling_batches: int) -> int:
    """Batches that a step may draw: one, and those of dynamic sampling as far as there are prompts that it has not seen."""
    return min(1 + dynamic_sampling_batches, num_prompts // prompts_per_step)


def prompts_of_step(
    prompts: Sequence[Prompt], step: int, prompts_per_step: int, seed: int, batches_of_step: int = 1
) -> list[Prompt]:
    """The prompts of step 1, 2, ... (with dynamic sampling: of batch 1, 2, ...): epochs of seeded permutations laid end to end.

    A pure function of its arguments, so the data position after a resume is the step number and nothing else. No prompt comes
    twice in a step, nor in `batches_of_step` batches in a row (at most `most_batches_of_step`), and every epoch holds every
    prompt once: one that would come back too early changes places with one at the end of its epoch. Raises ValueError when a
    step has more places than there are prompts.
    """
    size, stop = len(prompts), step * prompts_per_step
    if not 1 <= batches_of_step <= size // prompts_per_step:
        raise ValueError(f"{batches_of_step} x prompts_per_step = {prompts_per_step} is above the {size} prompts there are")
    free_from = np.zeros(size, dtype=np.int64)  # by prompt: the first batch, from 0, that may hold it again
    former, order = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    for epoch in range(-(-stop // size)):
        batches = np.arange(epoch * size, (epoch + 1) * size) // prompts_per_step
        former, order = order, np.random.default_rng([seed, epoch]).permutation(size)
        _postpone(order, batches, free_from)
        free_from[order] = batches + batches_of_step
    ahead = -stop % size  # places of the last epoch that come after this batch
    wanted = np.concatenate([former, order])[-prompts_per_step - ahead :][:prompts_per_step]
    return [prompts[index] for index in wanted]


def _postpone(order: np.ndarray, batches: np.ndarray, free_from: np.ndarray) -> None:
    """Reorder an epoch in place so that no prompt comes before the batch that it is free from; `batches` are its places'."""
    for place in range(int(np.searchsorted(batches, free_from.max()))):
        if free_from[order[place]] > batches[place]:
            # One is there: the first prompts of the former epoch are free, one more of them than there are places before this.
            other = next(late for late in range(len(order) - 1, place, -1) if free_from[order[late]] <= batches[place])
            order[[place, other]] = order[[other, place]]


def deal_by_tokens(sequences: Sequence[TokenSequence], num_ranks: int) -> list[list[TokenSequence]]:
    """A balanced partition: the longest first, each to the rank that has the fewest tokens so far (LPT), there in the order given."""
    loads = [(0, rank) for rank in range(num_ranks)]
    rank_of: dict[int, int] = {}
    for number in sorted(range(len(sequences)), key=lambda number: -sequences[number].num_tokens):
        load, rank_of[number] = loads[0]
        heapq.heapreplace(loads, (load + sequences[number].num_tokens, rank_of[number]))
    return [[each for number, each in enumerate(sequences) if rank_of[number] == rank] for rank in range(num_ranks)]


def split_by_tokens(sequences: Sequence[TokenSequence], micro_batch_tokens: int) -> list[list[TokenSequence]]:
    """Cut sequences into micro-batches of at most `micro_batch_tokens` padded tokens (a longer one stands alone).

    First-fit-decreasing, so that little is padding: a batch is as wide as its first sequence, so the first into which another one
    fits is the last. No cut makes fewer batches.
    """
    batches: list[list[TokenSequence]] = []
    for sequence in sorted(sequences, key=lambda sequence: -sequence.num_tokens):
        width = batches[-1][0].num_tokens if batches else 0
        if batches and width * (len(batches[-1]) + 1) <= micro_batch_tokens:
            batches[-1].append(sequence)
        else:
            batches.append([sequence])
    return batches


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """A micro-batch on a device, padded on the right; `response_mask_BT` marks the tokens that the policy chose."""

    input_ids_BT: torch.Tensor
    response_mask_BT: torch.Tensor
    engine_logprobs_BT: torch.Tensor
    advantages_B: torch.Tensor
    signal_B: torch.Tensor  # False for the filler that keeps the number of micro-batches equal over ranks
    labels: tuple[str, ...]

    @classmethod
    def from_sequences(cls, sequences: Sequence[TokenSequence], device: torch.device) -> "PaddedBatch":
        """Pad with token 0 to the longest sequence; no attention mask is needed, since padding only follows."""
        width = max(sequence.num_tokens for sequence in sequences)
        input_ids = torch.zeros(len(sequences), width, dtype=torch.long)
        mask = torch.zeros(len(sequences), width, dtype=torch.bool)
        logprobs = torch.zeros(len(sequences), width)
        for row, sequence in enumerate(sequences):
            start, stop = len(sequence.prompt_ids), sequence.num_tokens
            input_ids[row, :start] = torch.as_tensor(sequence.prompt_ids)
            input_ids[row, start:stop] = torch.as_tensor(sequence.response_ids)
            mask[row, start:stop] = True
            logprobs[row, start:stop] = torch.as_tensor(sequence.engine_logprobs)
        advantages = torch.tensor([sequence.advantage for sequence in sequences])
        signal = torch.tensor([not sequence.is_filler for sequence in sequences])
        labels = tuple(sequence.label for sequence in sequences)
        return cls(input_ids.to(device), mask.to(device), logprobs.to(device), advantages.to(device), signal.to(device), labels)
