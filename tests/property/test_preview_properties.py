"""Laws of the preview: order does not matter, correctness alone never costs accuracy, and drifts are derivatives."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.config import RunConfig, load_config
from pipeline_lib.preview.drifts import group_drifts
from pipeline_lib.preview.first_step import Previewer, Signal
from pipeline_lib.preview.outcomes import ProfileOutcomes
from pipeline_lib.preview.settings import STRATEGIES, PreviewSetting, configured_setting

LIMIT = 24
BASE = load_config(
    Path(__file__).resolve().parents[2] / "configs" / "experiments" / "base.toml",
    ["reward.target_tokens=10", f"train.rollout_limit_tokens={LIMIT}", "filter.subset=all"],
)
ESTIMATORS = st.sampled_from(["grpo", "mean", "rloo", "batch_whitened"])
REWARDS = st.sampled_from(["vanilla", "truncation", "kimi", "laser", "arora_zanette"])
STRATEGY = st.sampled_from(STRATEGIES)


@st.composite
def profiles(draw: Any) -> ProfileOutcomes:
    """Prompts with N rollouts each, none longer than L_R."""
    num_prompts, num_rollouts = draw(st.integers(1, 5)), draw(st.integers(2, 6))
    number = num_prompts * num_rollouts
    shape = (num_prompts, num_rollouts)
    lengths = draw(st.lists(st.integers(1, LIMIT), min_size=number, max_size=number))
    correct = draw(st.lists(st.booleans(), min_size=number, max_size=number))
    logprobs = draw(st.lists(st.integers(-8, 0).map(lambda eighths: eighths / 8), min_size=number, max_size=number))
    correct_PN = np.array(correct).reshape(shape)
    return ProfileOutcomes(
        "made up", LIMIT, np.full(num_prompts, num_rollouts), np.array(lengths).reshape(shape), correct_PN,
        np.ones_like(correct_PN), np.array(logprobs, dtype=np.float64).reshape(shape),
    )  # fmt: skip


def with_advantage(estimator: str) -> RunConfig:
    return BASE.model_copy(update={"train": BASE.train.model_copy(update={"advantage": estimator})})


def setting_of(outcomes: ProfileOutcomes, reward: str, strategy: Any) -> PreviewSetting:
    setting = configured_setting(BASE, outcomes)
    return replace(setting, reward=setting.reward.model_copy(update={"name": reward}), negative_rollouts=strategy)


def numbers_of(outcomes: ProfileOutcomes, config: RunConfig, setting: PreviewSetting) -> dict[str, Any]:
    numbers = asdict(Previewer(outcomes, config).first_step(setting))
    del numbers["setting"]
    by_bucket = numbers.pop("masked_token_fraction_by_bucket")
    return numbers | {f"masked in bucket {index}": share for index, share in enumerate(by_bucket)}


@settings(deadline=None)
@given(profiles(), ESTIMATORS, REWARDS, STRATEGY, st.randoms(use_true_random=False))
def test_the_order_of_prompts_and_of_rollouts_does_not_matter(outcomes, estimator, reward, strategy, generator):
    num_prompts, num_rollouts = outcomes.lengths_PN.shape
    rows = generator.sample(range(num_prompts), num_prompts)
    columns = np.array([generator.sample(range(num_rollouts), num_rollouts) for _ in rows])
    arrays = ("lengths_PN", "correct_PN", "finished_PN", "logprobs_PN")
    permuted = replace(outcomes, **{name: np.take_along_axis(getattr(outcomes, name)[rows], columns, 1) for name in arrays})
    config, setting = with_advantage(estimator), setting_of(outcomes, reward, strategy)
    before, after = numbers_of(outcomes, config, setting), numbers_of(permuted, config, setting)
    for name, value in before.items():
        assert after[name] == (None if value is None else pytest.approx(value, rel=1e-6, abs=1e-9)), name


@settings(deadline=None)
@given(profiles(), ESTIMATORS)
def test_a_reward_for_correctness_alone_never_costs_accuracy(outcomes, estimator):
    step = Previewer(outcomes, with_advantage(estimator)).first_step(setting_of(outcomes, "vanilla", "vanilla"))
    assert step.accuracy_drift >= -1e-12
    is_mixed = (outcomes.correct_PN.any(axis=1) & ~outcomes.correct_PN.all(axis=1)).any()
    assert (step.accuracy_drift > 1e-6) == is_mixed


@settings(deadline=None)
@given(profiles(), ESTIMATORS, REWARDS, STRATEGY)
def test_drifts_are_the_derivatives_of_what_is_expected_after_the_update(outcomes, estimator, reward, strategy):
    config, setting = with_advantage(estimator), setting_of(outcomes, reward, strategy)
    previewer = Previewer(outcomes, config)
    groups = previewer.groups("all", outcomes.num_rollouts)
    signal = Signal.of(setting, groups.cut(LIMIT, previewer.edges), config.train)
    drifts = group_drifts(groups, signal.push_GN, signal.kept_GN, signal.target_tokens)

    # The derivative by a complex step, which is exact: Im f(i·h) / h.
    step = 1e-20
    weights_GN = np.exp(1j * step * signal.push_GN)
    weights_GN /= weights_GN.sum(axis=1, keepdims=True)

    def expected(values_GN: Any) -> Any:
        return (weights_GN * values_GN).sum(axis=1).mean()

    length_GN, correct_GN = groups.lengths_GN, groups.correct_GN
    surprisal_GN = -outcomes.logprobs_PN * length_GN
    derivatives = {
        "accuracy_G": expected(correct_GN),
        "accuracy_within_target_G": expected(correct_GN & (length_GN <= signal.target_tokens)),
        "length_G": expected(length_GN),
        "entropy_G": expected(surprisal_GN) / expected(length_GN),
    }
    if correct_GN.any():
        derivatives["correct_length_G"] = expected(correct_GN * length_GN) / expected(correct_GN)
    else:
        assert drifts.correct_length_G is None
    for name, value in derivatives.items():
        assert getattr(drifts, name).mean() == pytest.approx(value.imag / step, rel=1e-9, abs=1e-10), name


@settings(deadline=None)
@given(profiles(), ESTIMATORS, REWARDS, st.sampled_from(["-I", "-L&C-S&I"]))
def test_masks_that_leave_one_kind_on_each_side_of_the_target_have_no_skill(outcomes, estimator, reward, strategy):
    step = Previewer(outcomes, with_advantage(estimator)).first_step(setting_of(outcomes, reward, strategy))
    assert step.skill == 0 and step.score == 0
