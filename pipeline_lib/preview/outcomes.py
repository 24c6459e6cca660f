"""What a preview is computed from: length and correctness of N rollouts per prompt, from the store's profile or from a file.

Shape suffixes: P prompts, N the most rollouts of any prompt; rows of prompts with fewer are padded at their end.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.config import RunConfig
from pipeline_lib.evaluation.recorded_rollouts import (
    RecordedRollout,
    attach_prompts,
    judge_recorded,
    own_prompts,
    read_recorded_rollouts,
)
from pipeline_lib.files.tables import read_table, truth_column
from pipeline_lib.prompts import load_prompts
from pipeline_lib.rewards.base import BoolArray, FloatArray, IntArray
from pipeline_lib.runs.run import Run
from pipeline_lib.store.database import Store


class NothingToPreviewError(ValueError):
    """No rollouts are stored, or the subset has no prompt; the message says how to come by some."""


@dataclass(frozen=True, slots=True)
class ProfileOutcomes:
    """Rollouts of the base model by prompt.

    `counts_P`: rollouts of each prompt; `lengths_PN` in tokens, cut at `limit_tokens`; `finished_PN` is False where they were
    cut; `logprobs_PN`: mean log-prob of a rollout's tokens (nats), None when it is not known. `origin` says where they are from;
    `prompt_ids` name the prompts, where they are known.
    """

    origin: str
    limit_tokens: int
    counts_P: IntArray
    lengths_PN: IntArray
    correct_PN: BoolArray
    finished_PN: BoolArray
    logprobs_PN: FloatArray | None = None
    prompt_ids: tuple[str, ...] = ()

    @property
    def num_prompts(self) -> int:
        """How many prompts have rollouts (P)."""
        return len(self.counts_P)

    @property
    def num_rollouts(self) -> int:
        """The most rollouts of any prompt (N)."""
        return int(self.counts_P.max())

    @property
    def known_PN(self) -> BoolArray:
        """False where a row is padded."""
        known_PN: BoolArray = np.arange(self.lengths_PN.shape[1])[None, :] < self.counts_P[:, None]
        return known_PN

    @property
    def pass_rates_P(self) -> FloatArray:
        """Share of correct rollouts of each prompt."""
        pass_rates_P: FloatArray = self.correct_PN.sum(axis=1) / self.counts_P
        return pass_rates_P

    @property
    def lengths(self) -> IntArray:
        """Lengths of all rollouts, flat."""
        return self.lengths_PN[self.known_PN]

    @property
    def correct_lengths(self) -> IntArray:
        """Lengths of the correct rollouts, flat."""
        return self.lengths_PN[self.correct_PN]


def stored_outcomes(store: Store, run: Run, fingerprint: str) -> ProfileOutcomes:
    """The rollouts of a run's profile, its own or another's with the same `fingerprint`.

    Raises NothingToPreviewError when there are none.
    """
    profile = run.config.profile
    if profile.origin == "recorded":
        raise NothingToPreviewError(
            f"run {run.run_id} has pass rates but no rollouts (profile.origin = 'recorded'): sample them with "
            "--set profile.origin=sampled and 'laconic profile', or give --rollouts FILE"
        )
    rows = store.named("profile_groups", run_id=run.run_id, fingerprint=fingerprint)
    if not rows:
        raise NothingToPreviewError(
            f"run {run.run_id} has no difficulty profile yet: run 'laconic profile' with the same configuration first, or give "
            "--rollouts FILE"
        )
    limit = profile.rollout_limit_tokens if profile.origin == "sampled" else None
    return outcomes_of(rows, f"the profile of {rows[0]['run_id']}", limit)


def recorded_outcomes(path: Path, config: RunConfig) -> ProfileOutcomes:
    """The rollouts in a file (`read_recorded_rollouts`). A column `correct` is believed; otherwise our grader judges.

    Gold answers are the file's own, else those of the configuration's prompts. Raises ValueError for a file at fault.
    """
    recorded = read_recorded_rollouts(path)
    models = sorted({rollout.model for rollout in recorded})
    if len(models) > 1:
        raise ValueError(f"{path} holds rollouts of several models; a preview is of one: keep one of {', '.join(models)}")
    judged = _stated_judgements(path, recorded) or _own_judgements(path, recorded, config)
    groups: dict[tuple[str, str], dict[str, list[Any]]] = {}
    for rollout, correct in judged:
        group = groups.setdefault((rollout.benchmark, rollout.prompt_id), {"lengths": [], "correct": [], "finished": []})
        group["lengths"].append(rollout.num_tokens)
        group["correct"].append(correct)
        group["finished"].append(rollout.finish_reason == "stop")
    return outcomes_of([{"prompt_id": prompt_id, **group} for (_, prompt_id), group in groups.items()], str(path))


def _stated_judgements(path: Path, recorded: Sequence[RecordedRollout]) -> list[tuple[RecordedRollout, bool]]:
    table = read_table(path)
    if "correct" not in table.column_names:
        return []
    return list(zip(recorded, truth_column(table, "correct", path), strict=True))


def _own_judgements(
    path: Path, recorded: Sequence[RecordedRollout], config: RunConfig
) -> Iterable[tuple[RecordedRollout, bool]]:
    pairs, _ = attach_prompts(recorded, own_prompts(recorded) or load_prompts(config.prompts))
    if not pairs:
        raise ValueError(f"{path} holds no rollout of a problem of prompt source {config.prompts.name!r}, nor gold answers")
    judged = judge_recorded(pairs, config.prompts, config.run_id, "profile")
    return ((rollout, judgement.correct) for (rollout, _), judgement in zip(pairs, judged, strict=True))


def outcomes_of(rows: Sequence[Mapping[str, Any]], origin: str, limit_tokens: int | None = None) -> ProfileOutcomes:
    """Outcomes from a row per prompt with the lists lengths, correct, finished and, where known, logprobs.

    Without `limit_tokens` the longest rollout is taken for the limit. Prompts with a single rollout are left out: a group needs
    two. Raises NothingToPreviewError when none is left.
    """
    groups = [row for row in rows if len(row["lengths"]) >= 2]
    if not groups:
        raise NothingToPreviewError(f"{origin} has no prompt with two rollouts or more, and advantages need a group")
    counts_P = np.array([len(row["lengths"]) for row in groups])
    lengths_PN = _padded([row["lengths"] for row in groups], counts_P, np.int64)
    has_logprobs = all(row.get("logprobs") and None not in row["logprobs"] for row in groups)
    return ProfileOutcomes(
        origin=origin,
        limit_tokens=limit_tokens or int(lengths_PN.max()),
        counts_P=counts_P,
        lengths_PN=lengths_PN,
        correct_PN=_padded([row["correct"] for row in groups], counts_P, np.bool_),
        finished_PN=_padded([row["finished"] for row in groups], counts_P, np.bool_),
        logprobs_PN=_padded([row["logprobs"] for row in groups], counts_P, np.float64) if has_logprobs else None,
        prompt_ids=tuple(row["prompt_id"] for row in groups if "prompt_id" in row),
    )


def _padded(lists: Sequence[Sequence[Any]], counts_P: IntArray, kind: Any) -> Any:
    if counts_P.min() == counts_P.max():
        return np.array(lists, dtype=kind)
    padded_PN = np.zeros((len(lists), counts_P.max()), dtype=kind)
    for row, values in zip(padded_PN, lists, strict=True):
        row[: len(values)] = values
    return padded_PN
