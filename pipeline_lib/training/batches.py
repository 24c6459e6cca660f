"""Which prompts a step sees, and how token sequences are cut into padded micro-batches.

Shape suffixes: B sequences of a micro-batch, T padded tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipeline_lib.records import Prompt


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """A prompt and its response as token ids, with the advantage and the engine's log-prob of every response token."""

    prompt_ids: list[int]
    response_ids: list[int]
    engine_logprobs: list[float]
    advantage: float
    is_filler: bool = False
    label: str = ""  # names the rollout in a message

    @property
    def num_tokens(self) -> int:
        """Length of prompt and response in tokens."""
        return len(self.prompt_ids) + len(self.response_ids)


def prompts_of_step(prompts: Sequence[Prompt], step: int, prompts_per_step: int, seed: int) -> list[Prompt]:
    """The prompts of step 1, 2, ...: epochs of seeded permutations laid end to end.

    A pure function of its arguments, so the data position after a resume is the step number and nothing else. No prompt comes
    twice in a step unless there are fewer prompts than `prompts_per_step`.
    """
    first = (step - 1) * prompts_per_step
    return [prompts[_permutation(len(prompts), position // len(prompts), seed)[position % len(prompts)]]
            for position in range(first, first + prompts_per_step)]  # fmt: skip


def _permutation(size: int, epoch: int, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(size)


def split_by_tokens(sequences: Sequence[TokenSequence], micro_batch_tokens: int) -> list[list[TokenSequence]]:
    """Cut sequences into micro-batches of at most `micro_batch_tokens` padded tokens (a longer one stands alone).

    Sorted by length, so that little is padding.
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

    @property
    def has_signal(self) -> bool:
        """Whether anything in the batch is a rollout."""
        return bool(self.signal_B.any())

    @classmethod
    def from_sequences(cls, sequences: Sequence[TokenSequence], device: torch.device) -> "PaddedBatch":
        """Pad with token 0 to the longest sequence; no attention mask is needed, since padding only follows."""
        width = max(sequence.num_tokens for sequence in sequences)
        input_ids = torch.zeros(len(sequences), width, dtype=torch.long)
        mask = torch.zeros(len(sequences), width, dtype=torch.bool)
        logprobs = torch.zeros(len(sequences), width)
        for row, sequence in enumerate(sequences):
            start, stop = len(sequence.prompt_ids), sequence.num_tokens
            input_ids[row, :stop] = torch.tensor(sequence.prompt_ids + sequence.response_ids)
            mask[row, start:stop] = True
            logprobs[row, start:stop] = torch.tensor(sequence.engine_logprobs)
        advantages = torch.tensor([sequence.advantage for sequence in sequences])
        signal = torch.tensor([not sequence.is_filler for sequence in sequences])
        labels = tuple(sequence.label for sequence in sequences)
        return cls(input_ids.to(device), mask.to(device), logprobs.to(device), advantages.to(device), signal.to(device), labels)
