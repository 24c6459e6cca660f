"""What a child run of an experiment is measured by: plain numbers, by name, from its stored rows.

Names (docs/experiments.md lists them all): `accuracy@B`, `pass@B` and `tokens` are of the last checkpoint on the first benchmark,
with the benchmark's name in front on the others and `base.` in front for the model before RL. Curves of training give `.first`,
`.last`, `.min` and `.max` of means over a window of steps.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pipeline_lib.config.training import ALARM_KINDS
from pipeline_lib.experiments.metric_text import CURVES, HELD_OUT
from pipeline_lib.files.home import below
from pipeline_lib.runs.ledger import Ledger
from pipeline_lib.runs.run import Run
from pipeline_lib.stages.train import stored_fingerprint
from pipeline_lib.store.database import Store
from pipeline_lib.tiny_world.traces import STYLES, line_results, style_of

FloatArray = npt.NDArray[np.float64]
Metrics = dict[str, float | None]

WINDOW_STEPS = 5
# Where the style shares of the end are taken from: the last steps' rollouts.
STYLE_STEPS = 5


def child_metrics(store: Store, run: Run) -> Metrics:
    """All metrics of a finished child run; None where one is not defined."""
    curve = store.named("training_curve", run_id=run.run_id)
    points = store.named("budget_table", run_ids=[run.run_id])
    first = run.config.evaluate.benchmarks[0].name
    metrics = {**_budget_metrics(points, first), **curve_metrics(curve)}
    full = metrics.get(f"base.accuracy@{max(run.config.evaluate.budgets_tokens)}")
    metrics |= held_out_metrics(curve, full)
    metrics |= _phase_metrics(store.named("phases_of_run", run_id=run.run_id))
    alarms = Counter(row["kind"] for row in store.named("alarms_of_run", run_id=run.run_id))
    metrics |= {f"alarm.{kind}": float(alarms[kind]) for kind in ALARM_KINDS}
    if run.config.prompts.kind == "tiny":
        texts = training_texts(store, run)
        shares = style_shares(texts)
        last = [shares[step] for step in sorted(shares)[-STYLE_STEPS:]]
        metrics |= {f"style.{style}": float(np.mean([share[style] for share in last])) for style in (*STYLES, "other")}
        metrics |= line_metrics(texts, STYLE_STEPS)
    return metrics


def _budget_metrics(points: Sequence[Mapping[str, Any]], first: str) -> Metrics:
    """Accuracy and length of the base and of the last step, on every benchmark."""
    last_step = max((point["step"] for point in points), default=0)
    metrics: Metrics = {}
    for point in points:
        if point["step"] not in (0, last_step):
            continue
        prefix = ("" if point["benchmark"] == first else f"{point['benchmark']}.") + ("" if point["step"] else "base.")
        budget = point["budget_tokens"]
        metrics[f"{prefix}accuracy@{budget}"] = point["mean_at_k"]
        metrics[f"{prefix}pass@{budget}"] = point["pass_at_k"]
        # Points rise in budget: the last one, at the largest, has the uncut lengths.
        metrics[f"{prefix}tokens"] = point["mean_tokens"]
        metrics[f"{prefix}tokens_correct"] = point["mean_tokens_correct"]
        metrics[f"{prefix}tokens_incorrect"] = point["mean_tokens_incorrect"]
    return metrics


def curve_metrics(curve: Sequence[Mapping[str, Any]]) -> Metrics:
    """First, last, lowest and highest windowed mean of each curve, and how fast and how lastingly the length fell.

    `.trough` and `.end` are the lowest and the last mean over a quarter of the steps: the lowest of many short windows is low by
    chance alone, and a dip must not be.
    """
    metrics: Metrics = {}
    for name, (column, *_) in CURVES.items():
        values = _windowed(curve, column)
        ends = (values[0], values[-1], values.min(), values.max()) if values.size else (None,) * 4
        quarters = _windowed(curve, column, max(WINDOW_STEPS, len(curve) // 4))
        ends += (quarters.min(), quarters[-1]) if quarters.size else (None,) * 2
        metrics |= {
            f"{name}.{end}": None if value is None else float(value)
            for end, value in zip(("first", "last", "min", "max", "trough", "end"), ends, strict=True)
        }
    lengths = _windowed(curve, "mean_tokens")
    if lengths.size:
        halfway = (lengths[0] + lengths.min()) / 2
        metrics["half_length_step"] = float(np.argmax(lengths <= halfway) + len(curve) - lengths.size + 1)
        metrics["length.rebound"] = float(lengths[np.argmin(lengths) :].max() / lengths.min())
        highest, start = metrics["entropy.max"], metrics["entropy.first"]
        metrics["entropy.growth"] = None if not start or highest is None else highest / start
        metrics["steps"] = float(curve[-1]["step"])
        metrics["half_length_updates"] = float(
            next(row["optimizer_steps"] for row in curve if row["step"] >= metrics["half_length_step"])
        )
    return metrics


def held_out_metrics(curve: Sequence[Mapping[str, Any]], base_accuracy: float | None) -> Metrics:
    """The dip of held-out accuracy (whatever the length) below the base, and what came back after it; 0-1."""
    values = [row[HELD_OUT[0]] for row in curve if row.get(HELD_OUT[0]) is not None]
    if not values:
        return {}
    lowest = int(np.argmin(values))
    return {
        "held_out.first": values[0],
        "held_out.min": values[lowest],
        "held_out.last": values[-1],
        "dip": None if base_accuracy is None else base_accuracy - values[lowest],
        "recovery": values[-1] - values[lowest],
    }


def _phase_metrics(phases: Sequence[Mapping[str, Any]]) -> Metrics:
    by_name = {row["phase"]: row for row in phases}
    adaptation, refinement = by_name.get("length_adaptation"), by_name.get("reasoning_refinement")
    return {
        "adaptation.steps": float(adaptation["last_step"]) if adaptation else None,
        "refinement.accuracy_gain": refinement["accuracy_last"] - refinement["accuracy_first"] if refinement else None,
        "refinement.entropy_change": refinement["entropy_last"] - refinement["entropy_first"] if refinement else None,
        "refinement.length_change": refinement["mean_tokens_last"] - refinement["mean_tokens_first"] if refinement else None,
    }


def training_texts(store: Store, run: Run) -> dict[int, list[tuple[str, str]]]:
    """(prompt_id, response) of every training rollout by step, also where it was trained by another run."""
    fingerprint = stored_fingerprint(run, Ledger(store, run.run_id, run.config.name))
    owners = store.named("stage_result_owner", stage="train", unit="", fingerprint=fingerprint)
    owner = owners[0]["run_id"] if owners else run.run_id
    texts: dict[int, list[tuple[str, str]]] = {}
    for path in sorted(below(run.home, "rollouts", owner, "train").glob("*.parquet")):
        table = pq.read_table(path, columns=["step", "prompt_id", "text"])
        for step, prompt_id, text in zip(*(column.to_pylist() for column in table.columns), strict=True):
            texts.setdefault(step, []).append((prompt_id, text))
    return texts


def style_shares(texts: Mapping[int, Sequence[tuple[str, str]]]) -> dict[int, dict[str, float]]:
    """Share of responses in each style of the tiny world, by step."""
    shares = {}
    for step, pairs in texts.items():
        styles = [style_of(text) for _, text in pairs]
        shares[step] = {style: styles.count(style) / len(styles) for style in (*STYLES, "other")}
    return shares


def line_metrics(texts: Mapping[int, Sequence[tuple[str, str]]], num_steps: int) -> Metrics:
    """Share of right arithmetic lines by style, over the first and the last steps of training."""
    steps = sorted(texts)
    metrics: Metrics = {}
    for name, chosen in (("first", steps[:num_steps]), ("last", steps[-num_steps:])):
        right: dict[str, list[bool]] = {"count": [], "table": []}
        for step in chosen:
            for prompt_id, text in texts[step]:
                for line in line_results(prompt_id.partition("-")[2], text):
                    right.get(line.style, []).append(line.right)
        metrics |= {f"line.{style}.{name}": float(np.mean(values)) if values else None for style, values in right.items()}
    return metrics


def _windowed(curve: Sequence[Mapping[str, Any]], column: str, num_steps: int = WINDOW_STEPS) -> FloatArray:
    """Means over `num_steps` consecutive steps (fewer where the run is shorter), without missing values."""
    values = np.array([row[column] for row in curve if row.get(column) is not None], dtype=float)
    if not values.size:
        return values
    width = min(num_steps, values.size)
    return np.convolve(values, np.ones(width) / width, mode="valid")
