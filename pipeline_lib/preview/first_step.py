"""What the first training step would see and push towards under one setting, from profiled rollouts: no model is needed.

Shape suffixes: G groups, N rollouts of a group.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from pipeline_lib.config import RunConfig, TrainConfig
from pipeline_lib.preview.drifts import correlation, group_drifts, row_sums, score_of
from pipeline_lib.preview.groups import Cut, ProfiledGroups, bucket_edges
from pipeline_lib.preview.outcomes import NothingToPreviewError, ProfileOutcomes
from pipeline_lib.preview.settings import PreviewSetting, selected_prompts
from pipeline_lib.rewards import make_reward
from pipeline_lib.rewards.base import BoolArray, FloatArray
from pipeline_lib.training.credit import assign_credit


@dataclass(frozen=True, slots=True)
class FirstStep:
    """The first step under a setting. Shares and accuracies are 0-1, drifts a unit of eta (`Drifts`); None: not defined.

    `target_tokens`: L_T in force; `mean_tokens`: of the rollouts generated, of which `truncated_fraction` are cut at L_R.
    `positive_fraction`: rewards above 0; `zero_variance_fraction`: groups whose rewards are all equal; `masked_token_fraction`:
    tokens kept out of the loss, of all and by bucket of length. `length_correlation`: of advantage and length over the kept
    rollouts of groups with a signal, and among the correct of them. `brevity`: minus the length drift over the mean length;
    `noise`, `score`, `score_error`: `Score`.
    """

    setting: PreviewSetting
    num_prompts: int
    num_groups: int
    target_tokens: float
    mean_tokens: float
    truncated_fraction: float
    positive_fraction: float
    zero_variance_fraction: float
    masked_token_fraction: float
    masked_token_fraction_by_bucket: tuple[float | None, ...]
    length_correlation: float | None
    length_correlation_correct: float | None
    accuracy_drift: float
    accuracy_within_target_drift: float
    length_drift: float
    correct_length_drift: float | None
    entropy_drift: float | None
    skill: float
    brevity: float
    noise: float
    score: float
    score_error: float


@dataclass(frozen=True, slots=True)
class Signal:
    """What training makes of the groups it sees: rewards, which rollouts it keeps, and how hard it pushes each of these."""

    target_tokens: float
    rewards_GN: FloatArray
    kept_GN: BoolArray
    push_GN: FloatArray

    @classmethod
    def of(cls, setting: PreviewSetting, cut: Cut, train: TrainConfig) -> "Signal":
        """The credit that training assigns, times the weight that the loss gives to a rollout.

        Raises NotFiniteError for a reward or an advantage that is not finite: training would stop at it.
        """
        train = train.model_copy(update={"negative_rollouts": setting.negative_rollouts})
        reward = make_reward(setting.reward, setting.limit_tokens)
        reward.observe(cut.seen)
        with _one_thread():
            credit = assign_credit(reward, cut.seen, train, cut.label, what=f"reward {setting.reward.name!r}")
        push_GN = credit.advantages_PN * credit.kept_PN
        if train.loss_aggregation == "sequence_mean" and credit.kept_PN.any():
            # The loss averages each rollout over its tokens: a long one is pushed less.
            push_GN = push_GN * (cut.tokens_GN[credit.kept_PN].mean() / cut.tokens_GN)
        return cls(reward.target_tokens, credit.rewards_PN, credit.kept_PN, push_GN)

    def length_correlation(self, cut: Cut, among_correct: bool = False) -> float | None:
        """Correlation of push and length over the kept rollouts of groups with a signal."""
        chosen_GN = self.kept_GN & (self.push_GN != 0).any(axis=1, keepdims=True)
        if among_correct:
            chosen_GN = chosen_GN & cut.seen.correct_PN
        return correlation(self.push_GN, cut.tokens_GN, chosen_GN.astype(np.float64))

    @property
    def zero_variance_fraction(self) -> float:
        """Share of groups whose rewards are all equal."""
        return float((self.rewards_GN == self.rewards_GN[:, :1]).all(axis=1).mean())


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums over groups of a few rollouts gain nothing from threads, and on a busy machine wait for them a hundred times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Previewer:
    """Computes first steps from the same rollouts; what settings have in common is computed once.

    `edges` are the upper ends of the length buckets.
    """

    def __init__(self, outcomes: ProfileOutcomes, config: RunConfig) -> None:
        self.outcomes = outcomes
        self.config = config
        self.edges = bucket_edges(outcomes, config.reward.target_tokens)
        self._mean_tokens = float(outcomes.lengths.mean())
        self._groups: dict[tuple[str, int], ProfiledGroups] = {}

    def groups(self, subset: str, num_rollouts: int) -> ProfiledGroups:
        """Groups of a subset. Raises NothingToPreviewError when the profile has none."""
        key = (subset, num_rollouts)
        if key not in self._groups:
            groups = ProfiledGroups(self.outcomes, selected_prompts(self.outcomes, self.config, subset), num_rollouts)
            if not groups.num_groups:
                raise NothingToPreviewError(
                    f"filter.subset = {subset!r} selects no prompt with {num_rollouts} rollouts from {self.outcomes.origin}"
                )
            self._groups[key] = groups
        return self._groups[key]

    def first_step(self, setting: PreviewSetting) -> FirstStep:
        """What the first step sees and pushes towards. Raises NothingToPreviewError when no prompt is selected."""
        groups = self.groups(setting.subset, setting.num_rollouts)
        cut = groups.cut(setting.limit_tokens, self.edges)
        signal = Signal.of(setting, cut, self.config.train)
        drifts = group_drifts(groups, signal.push_GN, signal.kept_GN, signal.target_tokens)
        noise_G = row_sums(signal.push_GN, signal.push_GN, cut.tokens_GN) / (self._mean_tokens * setting.num_rollouts**2)
        score = score_of(drifts.skill_G, -drifts.length_G / groups.mean_tokens, noise_G)
        masked, masked_by_bucket = cut.masked_tokens(signal.kept_GN)
        return FirstStep(
            setting=setting,
            num_prompts=groups.num_prompts,
            num_groups=groups.num_groups,
            target_tokens=signal.target_tokens,
            mean_tokens=float(cut.tokens_GN.mean()),
            truncated_fraction=float(1.0 - cut.seen.finished_PN.mean()),
            positive_fraction=float((signal.rewards_GN > 0).mean()),
            zero_variance_fraction=signal.zero_variance_fraction,
            masked_token_fraction=masked,
            masked_token_fraction_by_bucket=masked_by_bucket,
            length_correlation=signal.length_correlation(cut),
            length_correlation_correct=signal.length_correlation(cut, among_correct=True),
            accuracy_drift=_mean(drifts.accuracy_G),
            accuracy_within_target_drift=_mean(drifts.accuracy_within_target_G),
            length_drift=_mean(drifts.length_G),
            correct_length_drift=None if drifts.correct_length_G is None else _mean(drifts.correct_length_G),
            entropy_drift=None if drifts.entropy_G is None else _mean(drifts.entropy_G),
            **score._asdict(),
        )


def _mean(values: FloatArray) -> float:
    return float(np.mean(values))
