"""The rollout groups of one step on one rank: samples, rewards, advantages, and which optimiser step uses them.

Shape suffixes: P prompts of this rank, N rollouts per prompt, R ranks.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch

from pipeline_lib.config import TrainConfig
from pipeline_lib.generation.sampling import Sample, logprob_problem
from pipeline_lib.messages.finite import stop_for
from pipeline_lib.records import Prompt, Rollout
from pipeline_lib.rewards import Outcomes, Reward
from pipeline_lib.rewards.repetition import flags_of
from pipeline_lib.training.batches import TokenSequence, deal_by_tokens
from pipeline_lib.training.credit import assign_credit
from pipeline_lib.training.ranks import first_problem, gather, rank, sum_tensor, world_size


class RolloutGroups:
    """`samples` lie prompt by prompt, N per prompt. With staleness S, the used groups go to the S optimiser steps in turn.

    `kept_PN` is False for rollouts that stay out of the loss; `used_P` for groups that dynamic sampling left over. `places_P` numbers
    the used groups of all ranks in the order of the batch, so that nothing depends on how many ranks share it. `age` is the number
    of optimiser steps taken since the weights that generated the batch, before those that it is trained in.
    """

    def __init__(self, samples: Sequence[Sample], config: TrainConfig, age: int = 0) -> None:
        assert len(samples) % config.num_rollouts == 0
        self.config, self.age = config, age
        self.num_rollouts = config.num_rollouts
        self.samples: list[Sample] = []
        self.batches_drawn = 0
        self.add_batch(samples)

    def add_batch(self, samples: Sequence[Sample]) -> None:
        """Take in one more batch of prompts; rewards must be assigned anew."""
        self.samples.extend(samples)
        self.batches_drawn += 1
        self.num_prompts = len(self.samples) // self.num_rollouts
        self.rewards_PN = torch.zeros(self.num_prompts, self.num_rollouts, dtype=torch.float64)
        self.advantages_PN = torch.zeros_like(self.rewards_PN)
        self.kept_PN = torch.ones_like(self.rewards_PN, dtype=torch.bool)
        self.used_P = torch.ones(self.num_prompts, dtype=torch.bool)
        self.places_P = torch.arange(self.num_prompts) * world_size() + rank()  # a batch is dealt to the ranks in turn

    def outcomes(self, reads_text: bool = False) -> Outcomes:
        """What the rewards are computed from; `reads_text` marks texts that repeat themselves, too."""

        def grid(values: Any) -> np.ndarray[Any, Any]:
            return np.array(values).reshape(self.num_prompts, self.num_rollouts)

        return Outcomes.of(
            grid([sample.num_tokens for sample in self.samples]),
            grid([sample.grade.correct for sample in self.samples]),
            grid([sample.completion.finish_reason == "stop" for sample in self.samples]),
            grid(flags_of([sample.completion.text for sample in self.samples])) if reads_text else None,
        )

    def assign_rewards(self, reward: Reward[Any]) -> None:
        """Score every group, decide which rollouts are kept, and turn the rewards into advantages (`assign_credit`).

        Raises NotFiniteError, on all ranks, for a log-prob of the engine, a reward, a target or an advantage that is not finite.
        """
        stop_for(first_problem(logprob_problem(self.samples)))
        outcomes = self.outcomes(reward.reads_text)
        credit = assign_credit(
            reward, outcomes, self.config, self._label, sum_over_ranks=sum_tensor, first_problem=first_problem
        )
        self.rewards_PN = torch.from_numpy(credit.rewards_PN)
        self.kept_PN = torch.from_numpy(credit.kept_PN)
        self.advantages_PN = torch.from_numpy(credit.advantages_PN)

    def _label(self, group: int, index: int) -> str:
        return self.samples[group * self.num_rollouts + index].label

    @property
    def signal_P(self) -> torch.Tensor:
        """Groups that move the weights: a kept rollout has an advantage other than 0."""
        return ((self.advantages_PN != 0) & self.kept_PN).any(dim=1)

    @property
    def num_with_signal(self) -> int:
        """How many groups move the weights."""
        return int(self.signal_P.sum())

    def use_at_most(self, num_groups: int) -> None:
        """Use the first `num_groups` groups of all ranks with a signal (dynamic sampling); the others stay out of the loss.

        One collective.
        """
        signal_PR = torch.stack(gather(self.signal_P), dim=1)
        before_PR = (signal_PR.flatten().cumsum(dim=0) - signal_PR.flatten().long()).view_as(signal_PR)
        self.used_P = self.signal_P & (before_PR[:, rank()] < num_groups)
        self.places_P = before_PR[:, rank()].clamp(max=num_groups)

    @property
    def policy_lag_P(self) -> list[int]:
        """Optimiser steps between the weights that generated each group and those it updates: the batch's age, and 0 to S - 1 in turn."""
        lags: list[int] = (self.age + self.places_P % self.config.staleness).tolist()
        return lags

    def sequences(self, share: int) -> list[TokenSequence]:
        """What optimiser step number `share` of the batch trains on: the kept rollouts of its groups, less those without a signal."""
        share_P = self.places_P % self.config.staleness
        trained_PN = self.kept_PN & (self.used_P & self.signal_P & (share_P == share)).unsqueeze(1)
        return [
            TokenSequence(
                np.array(sample.prompt_ids, dtype=np.int32),
                np.array(sample.completion.token_ids, dtype=np.int32),
                np.array(sample.completion.logprobs, dtype=np.float32),
                advantage,
                label=sample.label,
            )
            for sample, advantage, is_trained in zip(
                self.samples, self.advantages_PN.flatten().tolist(), trained_PN.flatten().tolist(), strict=True
            )
            if is_trained
        ]

    def rollouts(self, run_id: str, step: int, model: str, source: str) -> list[Rollout]:
        """The rows of the `rollouts` view."""
        rows = [sample.rollout(run_id, "train", step, model, source) for sample in self.samples]
        rewards, advantages = self.rewards_PN.flatten().tolist(), self.advantages_PN.flatten().tolist()
        masked = (~(self.kept_PN & self.used_P.unsqueeze(1))).flatten().tolist()
        policy_lag_P = self.policy_lag_P
        for position, row in enumerate(rows):
            row.reward, row.advantage, row.masked = rewards[position], advantages[position], masked[position]
            row.policy_lag = policy_lag_P[position // self.num_rollouts]
        return rows


def groups_of(prompts: Sequence[Prompt], num_rollouts: int, parts: Sequence[Sequence[Sample]]) -> list[Sample]:
    """All samples of some prompts, prompt by prompt, from what the ranks have drawn."""
    drawn = {(sample.prompt.prompt_id, sample.sample_index): sample for part in parts for sample in part}
    return [drawn[prompt.prompt_id, index] for prompt in prompts for index in range(num_rollouts)]


def outcomes_of_all_ranks(outcomes: Outcomes) -> Outcomes:
    """The outcomes of the whole batch, of which every rank has an equal part."""
    parts = gather(outcomes)
    return Outcomes(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Outcomes)))


def balanced_share(sequences: Sequence[TokenSequence]) -> list[TokenSequence]:
    """This rank's part of what all ranks train on together in an optimiser step, wherever it was generated: as many tokens as each."""
    return deal_by_tokens([each for part in gather(sequences) for each in part], world_size())[rank()]
