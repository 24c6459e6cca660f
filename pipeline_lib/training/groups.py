"""The rollout groups of one step on one rank: samples, rewards, advantages, and which optimiser step uses them.

Shape suffixes: P prompts of this rank, N rollouts a prompt.
"""

from collections.abc import Sequence

import torch

from pipeline_lib.generation.sampling import Sample
from pipeline_lib.grpo import group_advantages
from pipeline_lib.records import Rollout
from pipeline_lib.rewards.base import Reward
from pipeline_lib.training.batches import TokenSequence


class RolloutGroups:
    """`samples` lie prompt by prompt, N a prompt. With staleness S, group i is used by optimiser step i mod S of the batch."""

    def __init__(self, samples: Sequence[Sample], num_rollouts: int, staleness: int) -> None:
        assert len(samples) % num_rollouts == 0
        self.samples = list(samples)
        self.num_prompts = len(samples) // num_rollouts
        self.num_rollouts = num_rollouts
        self.staleness = staleness
        self.rewards_PN = torch.zeros(self.num_prompts, num_rollouts, dtype=torch.float64)
        self.advantages_PN = torch.zeros_like(self.rewards_PN)

    def assign_rewards(self, reward: Reward) -> None:
        """Score every group and turn the rewards into advantages."""
        rows = [
            reward([sample.num_tokens for sample in group], [sample.grade.correct for sample in group])
            for group in self._groups()
        ]
        self.rewards_PN = torch.tensor(rows, dtype=torch.float64)
        self.advantages_PN = group_advantages(self.rewards_PN)

    def _groups(self) -> list[list[Sample]]:
        size = self.num_rollouts
        return [self.samples[start : start + size] for start in range(0, len(self.samples), size)]

    def policy_lag(self, group: int) -> int:
        """Optimiser steps between the weights that generated a group and those it updates."""
        return group % self.staleness

    def sequences(self, lag: int) -> list[TokenSequence]:
        """What optimiser step number `lag` of the batch trains on: its groups, less those without a signal."""
        return [
            TokenSequence(sample.prompt_ids, sample.completion.token_ids, sample.completion.logprobs, float(advantage))
            for group, (samples, advantages) in enumerate(zip(self._groups(), self.advantages_PN, strict=True))
            if self.policy_lag(group) == lag and bool((advantages != 0).any())
            for sample, advantage in zip(samples, advantages, strict=True)
        ]

    def rollouts(self, run_id: str, step: int, model: str, source: str) -> list[Rollout]:
        """The rows of the `rollouts` view."""
        rows = []
        for position, sample in enumerate(self.samples):
            group, index = divmod(position, self.num_rollouts)
            row = sample.rollout(run_id, "train", step, model, source)
            row.reward = float(self.rewards_PN[group, index])
            row.advantage = float(self.advantages_PN[group, index])
            row.policy_lag = self.policy_lag(group)
            rows.append(row)
        return rows
