"""Rollout groups: rewards, masks of negatives, baselines, dynamic sampling, and which optimiser step uses which group."""

import pytest
import torch

from pipeline_lib.config import RewardConfig, TrainConfig
from pipeline_lib.generation.sampling import Sample
from pipeline_lib.messages.finite import NotFiniteError
from pipeline_lib.records import Completion, Grade, Prompt
from pipeline_lib.rewards import Outcomes, make_reward
from pipeline_lib.rewards.base import FloatArray, NoParameters
from pipeline_lib.rewards.truncation import TruncationReward
from pipeline_lib.training.groups import RolloutGroups

SHORT, LONG = 4, 11
TRUNCATION = make_reward(RewardConfig(name="truncation", target_tokens=10))


def settings(**changes: object) -> TrainConfig:
    values: dict[str, object] = {"steps": 1, "prompts_per_step": 4, "num_rollouts": 2, "rollout_limit_tokens": 12}
    return TrainConfig.model_validate({**values, **changes})


def samples(correct: list[list[bool]], lengths: list[list[int]], finish_reason: str = "stop") -> list[Sample]:
    rows = []
    for group, (judged, tokens) in enumerate(zip(correct, lengths, strict=True)):
        for index, (right, length) in enumerate(zip(judged, tokens, strict=True)):
            completion = Completion([5] * length, [-0.1] * length, "", finish_reason)  # type: ignore[arg-type]
            prompt = Prompt(f"p{group}", "s", "d", str(group), "0")
            rows.append(Sample(prompt, [1, 2], index, completion, Grade("0", right, "correct" if right else "wrong")))
    return rows


@pytest.fixture
def groups() -> RolloutGroups:
    """Group 0: mixed. Group 1: all right but one too long. Group 2: nothing right. Group 3: all right and short."""
    correct = [[True, False], [True, True], [False, False], [True, True]]
    lengths = [[4, 4], [4, 11], [4, 4], [4, 10]]
    made = RolloutGroups(samples(correct, lengths), settings(staleness=2), version=5)
    made.assign_rewards(TRUNCATION)
    return made


def test_rewards_and_advantages_by_hand(groups: RolloutGroups) -> None:
    assert groups.rewards_PN.tolist() == [[1, 0], [1, 0], [0, 0], [1, 1]]
    expected = 0.5 / (0.5**0.5 + 1e-4)
    assert groups.advantages_PN[0].tolist() == pytest.approx([expected, -expected])
    assert groups.advantages_PN[2:].tolist() == [[0, 0], [0, 0]]


def test_groups_without_a_signal_are_not_trained_on_and_lag_counts_optimizer_steps(groups: RolloutGroups) -> None:
    assert groups.policy_lag_P == [0, 1, 0, 1]
    first, second = groups.sequences(0), groups.sequences(1)
    assert [len(s.response_ids) for s in first] == [4, 4]
    assert [len(s.response_ids) for s in second] == [4, 11]
    rows = groups.rollouts("run", 3, "model", "source")
    assert [row.policy_lag for row in rows] == [0, 0, 1, 1, 0, 0, 1, 1]
    assert [row.reward for row in rows] == [1, 0, 1, 0, 0, 0, 1, 1]
    assert {(row.step, row.policy_version) for row in rows} == {(3, 5)}


# One group with a rollout of each kind: correct short, correct long, incorrect short, incorrect long.
ALL_KINDS = ([[True, True, False, False]], [[SHORT, LONG, SHORT, LONG]])


@pytest.mark.parametrize(
    ("strategy", "kept"),
    [
        ("vanilla", [True, True, True, True]),
        ("-I", [True, True, False, False]),
        ("-L&C", [True, False, True, True]),
        ("-L&C-S&I", [True, False, False, True]),
        ("-L&C-L&I", [True, False, True, False]),
    ],
)
def test_masked_rollouts_are_not_trained_on_but_count_in_the_baseline(strategy: str, kept: list[bool]) -> None:
    made = RolloutGroups(samples(*ALL_KINDS), settings(num_rollouts=4, prompts_per_step=1, negative_rollouts=strategy))
    made.assign_rewards(TRUNCATION)
    assert made.kept_PN[0].tolist() == kept
    # Rewards 1, 0, 0, 0 whatever is masked: mean 1/4, standard deviation 1/2.
    high, low = 0.75 / 0.5001, -0.25 / 0.5001
    expected = [value for value, used in zip([high, low, low, low], kept, strict=True) if used]
    assert [s.advantage for s in made.sequences(0)] == pytest.approx(expected)
    assert [row.masked for row in made.rollouts("run", 1, "m", "s")] == [not used for used in kept]


def test_without_masked_rollouts_in_the_baseline_the_kept_ones_are_compared_with_each_other() -> None:
    config = settings(num_rollouts=4, prompts_per_step=1, negative_rollouts="-I", masked_in_baseline=False)
    made = RolloutGroups(samples(*ALL_KINDS), config)
    made.assign_rewards(TRUNCATION)
    expected = 0.5 / (0.5**0.5 + 1e-4)  # rewards 1, 0
    assert [s.advantage for s in made.sequences(0)] == pytest.approx([expected, -expected])


def test_minus_i_leaves_no_signal_where_everything_kept_is_equal() -> None:
    """All correct rollouts are short and all wrong ones masked: under a baseline of kept ones nothing is left to learn."""
    made = RolloutGroups(
        samples([[True, False]], [[SHORT, SHORT]]),
        settings(prompts_per_step=1, negative_rollouts="-I", masked_in_baseline=False),
    )
    made.assign_rewards(TRUNCATION)
    assert not made.signal_P.any()
    assert made.sequences(0) == []


def test_overlong_filtering_keeps_cut_rollouts_out_of_the_loss() -> None:
    cut = samples([[True]], [[SHORT]])
    cut = [cut[0], *samples([[False]], [[12]], "length")]
    made = RolloutGroups(cut, settings(prompts_per_step=1, overlong_filtering=True))
    made.assign_rewards(TRUNCATION)
    assert made.kept_PN[0].tolist() == [True, False]
    assert [s.advantage for s in made.sequences(0)] == pytest.approx([0.5 / (0.5**0.5 + 1e-4)])


def test_batch_whitening_has_unit_variance_over_the_groups_with_a_signal(groups: RolloutGroups) -> None:
    made = RolloutGroups(groups.samples, settings(advantage="batch_whitened"))
    made.assign_rewards(TRUNCATION)
    assert made.advantages_PN[2:].tolist() == [[0, 0], [0, 0]]
    assert made.advantages_PN[0, 0] == pytest.approx(-made.advantages_PN[0, 1])
    assert made.advantages_PN[0, 0] == made.advantages_PN[1, 0] > 0


def test_dynamic_sampling_sees_the_variance_of_the_shaped_reward_not_of_correctness() -> None:
    """A group that is right throughout has a signal under a length reward, and none under correctness alone."""
    right_throughout = samples([[True, True]], [[SHORT, LONG]])
    shaped = RolloutGroups(right_throughout, settings(prompts_per_step=1))
    shaped.assign_rewards(TRUNCATION)
    plain = RolloutGroups(right_throughout, settings(prompts_per_step=1))
    plain.assign_rewards(make_reward(RewardConfig(name="vanilla", target_tokens=10)))
    assert (shaped.signal_P.tolist(), plain.signal_P.tolist()) == ([True], [False])


def test_a_further_batch_fills_up_and_what_is_too_much_stays_out(groups: RolloutGroups) -> None:
    more = samples([[True, False], [True, False], [False, True]], [[4, 4]] * 3)
    groups.add_batch(more)
    groups.assign_rewards(TRUNCATION)
    assert groups.batches_drawn == 2
    assert groups.signal_P.tolist() == [True, True, False, False, True, True, True]
    groups.use_at_most(4)
    assert groups.used_P.tolist() == [True, True, False, False, True, True, False]
    assert groups.policy_lag_P[:6:1] == [0, 1, 0, 0, 0, 1]
    assert sum(len(groups.sequences(lag)) for lag in range(2)) == 8
    assert [row.masked for row in groups.rollouts("run", 1, "m", "s")][-2:] == [True, True]


def test_how_many_ranks_share_a_batch_decides_neither_what_is_used_nor_in_which_optimiser_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two batches of four prompts, of which the second brings more groups with a signal than are wanted."""
    correct = [
        [True, False],
        [True, True],
        [True, False],
        [False, False],
        [True, False],
        [False, True],
        [True, True],
        [False, True],
    ]
    batch = samples(correct, [[4, 4]] * 8)

    def lags_by_prompt(num_ranks: int) -> dict[str, int]:
        made = []
        for number in range(num_ranks):
            monkeypatch.setattr("pipeline_lib.training.groups.rank", lambda own=number: own)
            monkeypatch.setattr("pipeline_lib.training.groups.world_size", lambda: num_ranks)
            own = [sample for sample in batch if int(sample.prompt.prompt_id[1:]) % num_ranks == number]
            made.append(RolloutGroups(own[: 8 // num_ranks], settings(staleness=2)))
            made[-1].add_batch(own[8 // num_ranks :])
            made[-1].assign_rewards(TRUNCATION)
        signals = [each.signal_P for each in made]
        monkeypatch.setattr("pipeline_lib.training.groups.gather", lambda _: signals)
        lags = {}
        for number, each in enumerate(made):
            monkeypatch.setattr("pipeline_lib.training.groups.rank", lambda own=number: own)
            each.use_at_most(4)
            prompts = [sample.prompt.prompt_id for sample in each.samples[:: each.num_rollouts]]
            lags |= {prompt: lag for prompt, lag, used in zip(prompts, each.policy_lag_P, each.used_P, strict=True) if used}
        return lags

    assert lags_by_prompt(1) == lags_by_prompt(2) == lags_by_prompt(4) == {"p0": 0, "p2": 1, "p4": 0, "p5": 1}


def test_the_advantages_of_rare_positives_are_larger_than_those_of_common_ones() -> None:
    """Finding F10, on the path that training takes."""
    rare, common = (
        RolloutGroups(samples([judged], [[SHORT] * 4]), settings(num_rollouts=4, prompts_per_step=1))
        for judged in ([True, False, False, False], [True, True, True, False])
    )
    for made in (rare, common):
        made.assign_rewards(TRUNCATION)
    assert rare.advantages_PN[0, 0] == pytest.approx(3 * common.advantages_PN[0, 0])
    assert isinstance(rare.advantages_PN, torch.Tensor)


class BrokenReward(TruncationReward):
    """Gives one rollout a value that is no number to train on."""

    value = float("nan")

    def score(self, outcomes: Outcomes) -> FloatArray:
        rewards_PN = super().score(outcomes)
        rewards_PN[1, 1] = self.value
        return rewards_PN


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_reward_that_is_not_finite_stops_and_names_the_rollout(value: float) -> None:
    made = RolloutGroups(samples([[True, False], [True, True]], [[4, 4], [4, 11]]), settings())
    reward = BrokenReward(NoParameters(), 10, 10)
    reward.value = value
    with pytest.raises(NotFiniteError) as caught:
        made.assign_rewards(reward)
    assert str(caught.value) == f"the reward is {value} for sample 1 of prompt 'p1' (11 tokens, correct)"


def test_finite_rewards_whose_advantage_is_not_stop_too() -> None:
    made = RolloutGroups(samples([[True, False], [True, True]], [[4, 4], [4, 11]]), settings())
    reward = BrokenReward(NoParameters(), 10, 10)
    reward.value = 1e308
    reward.weigh = lambda advantages_PN, outcomes: advantages_PN * 1e308 * 1e308  # type: ignore[method-assign]
    with pytest.raises(
        NotFiniteError, match=r"the advantage \(train.advantage = 'grpo', of finite rewards\) is .* prompt 'p\d'"
    ):
        made.assign_rewards(reward)


def test_a_target_that_is_not_finite_stops() -> None:
    made = RolloutGroups(samples([[True, False]], [[4, 4]]), settings())
    reward = TruncationReward(NoParameters(), 10, 10)
    reward.target_tokens = float("nan")
    with pytest.raises(NotFiniteError, match="the target L_T of the reward is nan"):
        made.assign_rewards(reward)
