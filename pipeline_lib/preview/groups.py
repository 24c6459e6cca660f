"""The rollout groups that settings share: a subset's rollouts in groups of N, whole and cut at a limit.

Shape suffixes: G groups, N rollouts of a group.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pipeline_lib.preview.outcomes import ProfileOutcomes
from pipeline_lib.rewards import Outcomes
from pipeline_lib.rewards.base import BoolArray, FloatArray, IntArray

BUCKET_QUANTILES = (0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True, slots=True)
class OutcomeOfGroups:
    """A quantity of every rollout and its mean over each group."""

    values_GN: FloatArray
    means_G: FloatArray

    @classmethod
    def of(cls, values_GN: "np.ndarray[Any, Any]") -> "OutcomeOfGroups":
        """From numbers or truths."""
        values_GN = values_GN.astype(np.float64)
        return cls(values_GN, values_GN.mean(axis=1))


class ProfiledGroups:
    """Groups of N rollouts of the selected prompts. A prompt with k x N rollouts makes k groups; what is left over is not used."""

    def __init__(self, outcomes: ProfileOutcomes, selected_P: BoolArray, num_rollouts: int) -> None:
        self.num_rollouts = num_rollouts
        self._parts = [
            (selected_P & (outcomes.counts_P >= start + num_rollouts), slice(start, start + num_rollouts))
            for start in range(0, outcomes.num_rollouts - num_rollouts + 1, num_rollouts)
        ]
        self.num_prompts = int(self._parts[0][0].sum())
        self.lengths_GN: IntArray = self._gather(outcomes.lengths_PN)
        self.correct_GN: BoolArray = self._gather(outcomes.correct_PN)
        self.finished_GN: BoolArray = self._gather(outcomes.finished_PN)
        self._logprobs_GN: FloatArray | None = None if outcomes.logprobs_PN is None else self._gather(outcomes.logprobs_PN)
        names_P = np.array(outcomes.prompt_ids or ("unnamed",) * outcomes.num_prompts)
        self._prompt_ids_G = np.concatenate([names_P[rows_P] for rows_P, _ in self._parts])
        self._cuts: dict[int, Cut] = {}
        self._within_target: dict[float, tuple[OutcomeOfGroups, OutcomeOfGroups]] = {}

    def _gather(self, values_PN: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        return np.concatenate([values_PN[rows_P, columns] for rows_P, columns in self._parts])

    @property
    def num_groups(self) -> int:
        return len(self.lengths_GN)

    @cached_property
    def length(self) -> "OutcomeOfGroups":
        """Length in tokens."""
        return OutcomeOfGroups.of(self.lengths_GN)

    @cached_property
    def correct(self) -> "OutcomeOfGroups":
        """1 for correct, 0 for incorrect."""
        return OutcomeOfGroups.of(self.correct_GN)

    def within_target(self, target_tokens: float) -> tuple["OutcomeOfGroups", "OutcomeOfGroups"]:
        """1 for at most L_T tokens, 0 for more; and 1 for correct within L_T."""
        if target_tokens not in self._within_target:
            short_GN = self.lengths_GN <= target_tokens
            self._within_target[target_tokens] = OutcomeOfGroups.of(short_GN), OutcomeOfGroups.of(short_GN & self.correct_GN)
        return self._within_target[target_tokens]

    @cached_property
    def mean_tokens(self) -> float:
        """Mean length of the rollouts as profiled."""
        return float(self.lengths_GN.mean())

    @cached_property
    def excess_of_correct_length(self) -> "OutcomeOfGroups | None":
        """correct x (length - mean length of the correct) / accuracy: its drift is that of the mean length of the correct ones.

        None where nothing is correct.
        """
        if not self.correct_GN.any():
            return None
        correct_GN, lengths_GN = self.correct.values_GN, self.length.values_GN
        return OutcomeOfGroups.of(correct_GN * (lengths_GN - lengths_GN[self.correct_GN].mean()) / correct_GN.mean())

    @cached_property
    def excess_surprisal(self) -> "OutcomeOfGroups | None":
        """(surprisal - entropy x length) / mean length: its drift is that of the entropy per token. None without log-probs.

        Surprisal is -log p of the whole rollout; entropy that of the training metrics, all surprisal over all tokens.
        """
        if self._logprobs_GN is None:
            return None
        surprisal_GN = -self._logprobs_GN * self.length.values_GN
        entropy = surprisal_GN.sum() / self.length.values_GN.sum()
        return OutcomeOfGroups.of((surprisal_GN - entropy * self.length.values_GN) / self.mean_tokens)

    def cut(self, limit_tokens: int, edges: tuple[int, ...]) -> "Cut":
        """The groups as training sees them when it samples at most `limit_tokens`; `edges` are the length buckets'."""
        if limit_tokens not in self._cuts:
            seen = Outcomes.of(self.lengths_GN, self.correct_GN, self.finished_GN).within(limit_tokens)
            self._cuts[limit_tokens] = Cut(seen, edges, self._prompt_ids_G)
        return self._cuts[limit_tokens]


@dataclass
class Cut:
    """Outcomes at one L_R; `edges` are the upper ends (inclusive) of the length buckets."""

    seen: Outcomes
    edges: tuple[int, ...]
    prompt_ids_G: "np.ndarray[Any, Any]"

    def label(self, group: int, index: int) -> str:
        judged = "correct" if self.seen.correct_PN[group, index] else "incorrect"
        return f"a rollout of prompt {str(self.prompt_ids_G[group])!r} ({self.seen.lengths_PN[group, index]} tokens, {judged})"

    @cached_property
    def tokens_GN(self) -> FloatArray:
        """Lengths for arithmetic."""
        return self.seen.lengths_PN.astype(np.float64)

    @cached_property
    def _buckets(self) -> IntArray:
        buckets: IntArray = np.searchsorted(np.array(self.edges), self.seen.lengths_PN.ravel(), side="left")
        return buckets

    @cached_property
    def _tokens_by_bucket(self) -> FloatArray:
        return self._by_bucket(self.tokens_GN)

    def _by_bucket(self, values_GN: FloatArray) -> FloatArray:
        sums: FloatArray = np.bincount(self._buckets, weights=values_GN.ravel(), minlength=len(self.edges)).astype(np.float64)
        return sums

    def masked_tokens(self, kept_GN: BoolArray) -> tuple[float, tuple[float | None, ...]]:
        """Share of the tokens that lie in rollouts kept out of the loss: of all, and of each bucket (None: no tokens there)."""
        masked = np.zeros(len(self.edges)) if kept_GN.all() else self._by_bucket(self.tokens_GN * ~kept_GN)
        by_bucket = tuple(
            part / whole if whole else None
            for part, whole in zip(masked.tolist(), self._tokens_by_bucket.tolist(), strict=True)
        )
        return float(masked.sum() / self._tokens_by_bucket.sum()), by_bucket


def bucket_edges(outcomes: ProfileOutcomes, target_tokens: int) -> tuple[int, ...]:
    """Upper ends of about five length buckets with equally many rollouts; one end is L_T, the last the longest rollout."""
    lengths = outcomes.lengths
    longest = int(lengths.max())
    found = [round(edge) for edge in np.quantile(lengths, BUCKET_QUANTILES).tolist()]
    apart = [edge for edge in found if abs(edge - target_tokens) > target_tokens / 8]
    return tuple(sorted({edge for edge in [*apart, target_tokens] if 0 < edge < longest} | {longest}))
