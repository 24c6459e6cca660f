"""A preview as text and as plain rows: what the terminal, JSON and CSV show."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pipeline_lib.preview.comparison import ComparedSetting, Preview
from pipeline_lib.preview.first_step import FirstStep

MISSING = "–"
COLUMNS = (
    "setting", "posi-\ntive", "zero\nvar.", "mas-\nked", "corr.\nA, L", "of cor-\nrect", "accu-\nracy", "within\nL_T", "skill",
    "length", "entro-\npy", "tokens", "score",
)  # fmt: skip
LEGEND = (
    "positive, zero var., masked: % of the rollouts with a reward above 0, of the groups whose rewards are all equal, of the tokens "
    "kept out of the loss. corr.: advantage with length over the kept rollouts, and over the correct ones of them. accuracy to "
    "entropy: first-order drifts per unit of update, in points, % of the mean length and millinats per token; skill is the part of the "
    "accuracy drift between rollouts on the same side of L_T. tokens: mean length generated. score: 100 · √(skill · fall of the "
    "length) / gradient noise ± standard error. docs/preview.md derives them and says what they cannot see."
)


def text_rows(rows: Sequence[ComparedSetting]) -> list[list[str]]:
    """The cells of each setting, in the order of COLUMNS."""
    return [[_name(row), *_cells(row.step)] for row in rows]


def _name(row: ComparedSetting) -> str:
    return "► configured" if row.factor == "configured" else row.label


def _cells(step: FirstStep) -> list[str]:
    return [
        f"{100 * step.positive_fraction:.1f}",
        f"{100 * step.zero_variance_fraction:.1f}",
        f"{100 * step.masked_token_fraction:.1f}",
        _signed(step.length_correlation, 1, 2),
        _signed(step.length_correlation_correct, 1, 2),
        _signed(step.accuracy_drift, 100),
        _signed(step.accuracy_within_target_drift, 100),
        _signed(step.skill, 100),
        _signed(-step.brevity, 100),
        _signed(step.entropy_drift, 1000),
        f"{step.mean_tokens:,.0f}",
        f"{step.score:.1f} ±{step.score_error:.1f}" if step.score else "0",
    ]


def _signed(value: float | None, factor: float, digits: int = 1) -> str:
    if value is None:
        return MISSING
    text = f"{factor * value:+.{digits}f}"
    return text if float(text) else f"{0:.{digits}f}"


def bucket_names(edges: Sequence[int]) -> list[str]:
    """The length buckets in words, from their upper ends: "to 40", "41–64", ..."""
    starts = [0, *edges[:-1]]
    return [f"{start + 1:,}–{edge:,}" if start else f"to {edge:,}" for start, edge in zip(starts, edges, strict=True)]


def masked_rows(preview: Preview) -> list[list[str]]:
    """For every setting that masks: its name and the share (%) of the tokens of each length bucket kept out of the loss."""
    return [
        [row.label, *(MISSING if share is None else f"{100 * share:.0f}" for share in row.step.masked_token_fraction_by_bucket)]
        for row in preview.rows
        if row.step.masked_token_fraction > 0
    ]


def plain_rows(rows: Sequence[ComparedSetting]) -> list[dict[str, Any]]:
    """A flat row per setting, with the names of `FirstStep`."""
    flat = []
    for row in rows:
        setting = row.step.setting
        numbers = {name: value for name, value in asdict(row.step).items() if name not in ("setting", "target_tokens")}
        flat.append(
            {
                "factor": row.factor,
                "label": row.label,
                "reward": setting.reward.name,
                "reward_parameters": setting.reward.parameters,
                "negative_rollouts": setting.negative_rollouts,
                "target_tokens": setting.target_tokens,
                "target_tokens_in_force": row.step.target_tokens,
                "limit_tokens": setting.limit_tokens,
                "subset": setting.subset,
                "num_rollouts": setting.num_rollouts,
                **numbers,
            }
        )
    return flat


def plain_preview(preview: Preview) -> dict[str, Any]:
    found = preview.recommendation
    recommendation = found and {
        "target_tokens": found.step.setting.target_tokens,
        "limit_tokens": found.step.setting.limit_tokens,
        "subset": found.step.setting.subset,
        "score": found.step.score,
        "is_dense": found.is_dense,
        "sentences": list(found.sentences),
    }
    return {
        "name": preview.name,
        "profile": preview.profile,
        "length_buckets": bucket_names(preview.bucket_edges),
        "settings": plain_rows(preview.rows),
        "recommendation": recommendation,
        "notes": list(preview.notes),
    }
