"""The settings that a preview compares: the configured one, and those around it or asked for.

L_R of a setting: L_R = L_T where sampling stops at the target, by the strategy of that name or because the configuration has
L_R = L_T and no strategy is varied; else the configuration's, or the profile's limit where the configuration leaves no room above
L_T for a strategy that tells short from long.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from pipeline_lib.config import NegativeStrategy, RewardConfig, RunConfig
from pipeline_lib.preview.outcomes import ProfileOutcomes
from pipeline_lib.rewards import REWARDS, make_reward
from pipeline_lib.rewards.base import BoolArray
from pipeline_lib.selection.difficulty import difficulty_class

Factor = Literal["configured", "reward", "negatives", "target", "subset", "rollouts", "chosen"]
STRATEGIES: tuple[NegativeStrategy, ...] = get_args(NegativeStrategy)
SUBSETS = ("easy", "all", "hard")
# What is tried around a configuration: the paper's own comparison, and one of each other family.
USUAL_REWARDS = (
    "vanilla", "truncation", "kimi", "laser", "laser_d_art", "adaptive_target", "l1_max", "cosine", "arora_zanette", "alp",
)  # fmt: skip
TARGET_QUANTILES = (0.25, 0.5, 0.75, 0.9)
SMALLEST_USUAL_GROUP = 4


@dataclass(frozen=True, slots=True)
class PreviewSetting:
    """What the first step depends on beside the rollouts. `limit_tokens` is L_R, `num_rollouts` N."""

    reward: RewardConfig
    negative_rollouts: NegativeStrategy
    limit_tokens: int
    subset: str
    num_rollouts: int

    @property
    def target_tokens(self) -> int:
        return self.reward.target_tokens


@dataclass(frozen=True, slots=True)
class Requested:
    """Values asked for; what is empty stays as configured. All empty: a small grid around the configuration."""

    rewards: Sequence[str] = ()
    negatives: Sequence[str] = ()
    targets: Sequence[int] = ()
    subsets: Sequence[str] = ()
    nums_rollouts: Sequence[int] = ()


def configured_setting(config: RunConfig, outcomes: ProfileOutcomes) -> PreviewSetting:
    """The configuration's own setting, with as many rollouts per prompt as the profile has, at most."""
    return PreviewSetting(
        reward=config.reward,
        negative_rollouts=config.train.negative_rollouts,
        limit_tokens=config.train.rollout_limit_tokens,
        subset=config.filter.subset,
        num_rollouts=min(config.train.num_rollouts, outcomes.num_rollouts),
    )


def compared_settings(config: RunConfig, outcomes: ProfileOutcomes, asked: Requested) -> list[tuple[Factor, PreviewSetting]]:
    """The configured setting, then every combination of what is asked for, or one factor varied at a time; none twice.

    Raises ValueError naming an option, its value and what is allowed.
    """
    _check(config, outcomes, asked)
    own = configured_setting(config, outcomes)
    around = SettingsAround(own, config, outcomes)
    has_request = any((asked.rewards, asked.negatives, asked.targets, asked.subsets, asked.nums_rollouts))
    others = around.combinations(asked) if has_request else around.one_factor_at_a_time()
    found: list[tuple[Factor, PreviewSetting]] = [("configured", own)]
    for factor, setting in others:
        if all(setting != known for _, known in found):
            make_reward(setting.reward, setting.limit_tokens)  # settings that do not go with L_R are told now
            found.append((factor, setting))
    return found


@dataclass(frozen=True, slots=True)
class SettingsAround:
    """Variations of a configuration's own setting."""

    own: PreviewSetting
    config: RunConfig
    outcomes: ProfileOutcomes

    def with_reward(self, name: str) -> PreviewSetting:
        """Another reward, at its published settings."""
        if name == self.own.reward.name:
            return self.own
        return replace(self.own, reward=RewardConfig(name=name, target_tokens=self.own.target_tokens))

    def with_target(self, target_tokens: int, setting: PreviewSetting | None = None) -> PreviewSetting:
        """Another L_T, and L_R with it where the configuration has L_R = L_T."""
        setting = setting or self.own
        reward = setting.reward.model_copy(update={"target_tokens": target_tokens})
        limit = target_tokens if setting.limit_tokens == setting.target_tokens else setting.limit_tokens
        return replace(setting, reward=reward, limit_tokens=limit)

    def with_negatives(self, strategy: NegativeStrategy, setting: PreviewSetting | None = None) -> PreviewSetting:
        """Another strategy for negative rollouts, with the L_R that it needs."""
        setting = setting or self.own
        if strategy == "L_R=L_T":
            limit = setting.target_tokens
        elif self.config.train.rollout_limit_tokens > self.config.reward.target_tokens:
            limit = self.config.train.rollout_limit_tokens
        else:
            limit = max(self.outcomes.limit_tokens, setting.target_tokens)
        return replace(setting, negative_rollouts=strategy, limit_tokens=limit)

    def combinations(self, asked: Requested) -> Iterable[tuple[Factor, PreviewSetting]]:
        for name in asked.rewards or [self.own.reward.name]:
            for target in asked.targets or [self.own.target_tokens]:
                varied = self.with_target(target, self.with_reward(name))
                for strategy in STRATEGIES if asked.negatives else [None]:
                    if strategy and strategy not in asked.negatives:
                        continue
                    masked = self.with_negatives(strategy, varied) if strategy else varied
                    for subset in asked.subsets or [self.own.subset]:
                        for num_rollouts in asked.nums_rollouts or [self.own.num_rollouts]:
                            yield "chosen", replace(masked, subset=subset, num_rollouts=num_rollouts)

    def one_factor_at_a_time(self) -> Iterable[tuple[Factor, PreviewSetting]]:
        """Rewards, strategies, L_T at quantiles of the correct lengths, subsets, and N, each with the rest as configured."""
        for name in USUAL_REWARDS:
            yield "reward", self.with_reward(name)
        for strategy in STRATEGIES:
            yield "negatives", self.with_negatives(strategy)
        for target in target_candidates(self.outcomes.correct_lengths.tolist(), TARGET_QUANTILES):
            varied = self.with_target(target)
            if target <= varied.limit_tokens:
                yield "target", varied
        for subset in SUBSETS:
            if selected_prompts(self.outcomes, self.config, subset).any():
                yield "subset", replace(self.own, subset=subset)
        size = SMALLEST_USUAL_GROUP
        while size <= self.outcomes.num_rollouts:
            yield "rollouts", replace(self.own, num_rollouts=size)
            size *= 2


def target_candidates(correct_lengths: Sequence[int], quantiles: Sequence[float]) -> list[int]:
    """L_T at quantiles of the correct lengths, rising; from 1,000 tokens on rounded to two digits."""
    if not correct_lengths:
        return []
    found = np.quantile(correct_lengths, quantiles)
    return sorted({round(length) if length < 1000 else round(length, 1 - int(np.log10(length))) for length in found.tolist()})


def selected_prompts(outcomes: ProfileOutcomes, config: RunConfig, subset: str) -> BoolArray:
    """selected_P: the prompts of a subset by their pass rate over all their rollouts; cleaning is not counted."""
    rates_P = outcomes.pass_rates_P
    if subset == "all":
        return np.ones(len(rates_P), dtype=np.bool_)
    if subset == "band":
        return (rates_P >= config.filter.min_pass_rate) & (rates_P <= config.filter.max_pass_rate)
    class_of = {rate: difficulty_class(rate) for rate in np.unique(rates_P).tolist()}
    return np.array([class_of[rate] == subset for rate in rates_P.tolist()], dtype=np.bool_)


def _check(config: RunConfig, outcomes: ProfileOutcomes, asked: Requested) -> None:
    subsets = (*SUBSETS, "band") if config.filter.subset == "band" else SUBSETS
    known = (
        ("--reward", asked.rewards, tuple(sorted(REWARDS))),
        ("--negatives", asked.negatives, STRATEGIES),
        ("--subset", asked.subsets, subsets),
    )
    for option, values, allowed in known:
        for value in values:
            if value not in allowed:
                raise ValueError(f"{option} {value!r} is not one of {', '.join(allowed)}")
    for target in asked.targets:
        largest = config.train.rollout_limit_tokens
        follows = largest == config.reward.target_tokens or set(asked.negatives) == {"L_R=L_T"}
        if target < 1:
            raise ValueError(f"--target {target} is not a number of tokens above 0")
        if target > largest and not follows:
            raise ValueError(f"--target {target} is not within 1 to train.rollout_limit_tokens = {largest}")
    for num_rollouts in asked.nums_rollouts:
        if not 2 <= num_rollouts <= outcomes.num_rollouts:
            raise ValueError(
                f"--num-rollouts {num_rollouts} is not within 2 to {outcomes.num_rollouts}, what {outcomes.origin} has per prompt; "
                "for more, profile with a larger profile.num_rollouts"
            )
