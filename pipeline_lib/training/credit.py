"""Credit assignment: what each rollout earns, whether it stays in the loss, and how hard the loss pushes it.

One function, for the training loop and for the preview of its first step. The protocol is that of arXiv 2602.20945: a shaped
reward within the group of a prompt, negative rollouts kept out as in its Table 1 (`rewards.negatives`), advantages relative to the
group (`grpo`); overlong filtering is DAPO's (arXiv 2503.14476).
Shape suffixes: P prompts (groups), N rollouts per prompt.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline_lib.config import TrainConfig
from pipeline_lib.grpo import batch_moments, group_advantages, whiten
from pipeline_lib.messages.finite import not_finite, stop_for
from pipeline_lib.rewards import Outcomes, Reward
from pipeline_lib.rewards.base import BoolArray, FloatArray
from pipeline_lib.rewards.negatives import kept_rollouts


@dataclass(frozen=True, slots=True)
class Credit:
    """What every rollout earned; `kept_PN` is False where it stays out of the loss. Masked rollouts have advantages, too."""

    rewards_PN: FloatArray
    kept_PN: BoolArray
    advantages_PN: FloatArray


def assign_credit(
    reward: Reward[Any],
    outcomes: Outcomes,
    config: TrainConfig,
    name_of: Callable[[int, int], str],
    *,
    what: str = "the reward",
    sum_over_ranks: Callable[[Tensor], Tensor] = lambda own: own,
    first_problem: Callable[[str | None], str | None] = lambda own: own,
) -> Credit:
    """Reward, then mask, then advantage of whole groups, by a reward that has observed its batch. Pure: it changes nothing.

    What spans ranks is handed in: the sum of the batch's moments, which only `batch_whitened` takes, and the first problem of any
    rank. Raises NotFiniteError for a reward, a target L_T or an advantage that is NaN or infinite, with `what` and
    `name_of(group, index)` for the reward and the rollout.
    """
    rewards_PN = reward.score(outcomes)
    target = None if math.isfinite(reward.target_tokens) else f"the target L_T of the reward is {reward.target_tokens}"
    # Before the moments are summed: they would hand a rank's NaN to the others, and the first would name the wrong rollout.
    stop_for(first_problem(not_finite(rewards_PN, what, name_of) or target))
    kept_PN = kept_rollouts(config.negative_rollouts, outcomes.correct_PN, outcomes.lengths_PN <= reward.target_tokens)
    if config.overlong_filtering:
        kept_PN = kept_PN & outcomes.finished_PN
    kept = torch.from_numpy(kept_PN)
    advantages = group_advantages(torch.from_numpy(rewards_PN), config.advantage, None if config.masked_in_baseline else kept)
    if config.advantage == "batch_whitened":
        advantages = whiten(advantages, sum_over_ranks(batch_moments(advantages, kept)))
    advantages_PN = reward.weigh(advantages.numpy(), outcomes)
    described = f"the advantage (train.advantage = {config.advantage!r}, of finite rewards)"
    stop_for(first_problem(not_finite(advantages_PN, described, name_of)))
    return Credit(rewards_PN, kept_PN, advantages_PN)
