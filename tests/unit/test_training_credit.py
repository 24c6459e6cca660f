"""Credit assignment: from outcomes to rewards, masks and advantages, for one rank and for several."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pipeline_lib.config import RewardConfig, TrainConfig
from pipeline_lib.messages.finite import NotFiniteError
from pipeline_lib.rewards import Outcomes, Reward, make_reward
from pipeline_lib.training.credit import Credit, assign_credit

# Two groups at L_T = 10 and L_R = 12; the last rollout of each is cut.
OUTCOMES = Outcomes.of([[4, 8, 11, 13], [10, 12, 6, 20]], [[1, 0, 1, 1], [1, 1, 0, 0]]).within(12)


def truncation() -> Reward[Any]:
    return make_reward(RewardConfig(name="truncation", target_tokens=10), 12)


def credit_of(
    outcomes: Outcomes, reward: Reward[Any] | None = None, hooks: dict[str, Any] | None = None, **train: Any
) -> Credit:
    config = TrainConfig.model_validate(
        {"steps": 1, "prompts_per_step": 2, "num_rollouts": 4, "rollout_limit_tokens": 12, **train}
    )
    return assign_credit(reward or truncation(), outcomes, config, lambda group, index: f"{group}.{index}", **(hooks or {}))


def test_a_rollout_beyond_the_limit_is_cut_there_and_counts_as_wrong() -> None:
    assert OUTCOMES.lengths_PN.tolist() == [[4, 8, 11, 12], [10, 12, 6, 12]]
    assert OUTCOMES.correct_PN.tolist() == [[True, False, True, False], [True, True, False, False]]
    assert OUTCOMES.finished_PN.tolist() == [[True, True, True, False], [True, True, True, False]]


def test_rewards_masks_and_advantages_by_hand() -> None:
    credit = credit_of(OUTCOMES, negative_rollouts="-L&C", advantage="mean", overlong_filtering=True)
    assert credit.rewards_PN.tolist() == [[1, 0, 0, 0], [1, 0, 0, 0]]
    assert credit.kept_PN.tolist() == [[True, True, False, False], [True, False, True, False]]
    assert credit.advantages_PN.tolist() == [[0.75, -0.25, -0.25, -0.25]] * 2
    alone = credit_of(OUTCOMES, negative_rollouts="-L&C", advantage="mean", overlong_filtering=True, masked_in_baseline=False)
    assert alone.advantages_PN.tolist() == [[0.5, -0.5, 0, 0], [0.5, 0, -0.5, 0]]


def part(rows: slice) -> Outcomes:
    return Outcomes.of(OUTCOMES.lengths_PN[rows], OUTCOMES.correct_PN[rows])


def test_ranks_that_add_their_moments_whiten_as_one() -> None:
    whole = credit_of(
        part(slice(None)), make_reward(RewardConfig(name="kimi", target_tokens=10), 12), advantage="batch_whitened"
    )
    moments: list[torch.Tensor] = []

    def remember(own: torch.Tensor) -> torch.Tensor:
        moments.append(own.clone())
        return own

    for sum_over_ranks in (remember, lambda own: sum(moments)):
        parts = [
            credit_of(
                part(slice(group, group + 1)),
                make_reward(RewardConfig(name="kimi", target_tokens=10), 12),
                {"sum_over_ranks": sum_over_ranks},
                advantage="batch_whitened",
            )
            for group in range(2)
        ]
    np.testing.assert_allclose(np.concatenate([each.advantages_PN for each in parts]), whole.advantages_PN, rtol=1e-12)


def refuse(_: torch.Tensor) -> torch.Tensor:
    raise AssertionError("a rank's NaN must not reach the others' advantages")


@pytest.mark.parametrize(
    ("problem_of", "told"),
    [(lambda own: own, "the reward is nan for 1.2"), (lambda own: "rank 0 has one, too", "rank 0 has one, too")],
)
def test_a_reward_that_is_not_a_number_stops_every_rank_before_moments_are_summed(
    problem_of: Callable[[str | None], str | None], told: str
) -> None:
    reward = truncation()
    score = reward.score
    broken = np.array([[0.0] * 4, [0, 0, np.nan, 0]])
    reward.score = lambda outcomes: score(outcomes) + broken  # type: ignore[method-assign]
    with pytest.raises(NotFiniteError, match=f"^{told}$"):
        credit_of(OUTCOMES, reward, {"sum_over_ranks": refuse, "first_problem": problem_of}, advantage="batch_whitened")
