"""What a training worker leaves on disk, read from outside it: step metrics and checkpoints. Imports neither torch nor an engine."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline_lib.records import CheckpointRecord
from pipeline_lib.worker.jobs import read_json


class StepFiles:
    """The metrics of each step, one JSON file a step; `new_rows` gives what has come since `mark_seen`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: set[tuple[str, int]] = set()
        self._given: set[tuple[str, int]] = set()

    def new_rows(self) -> list[dict[str, Any]]:
        """Rows of `training_steps` that are new or were written again, by step. The first call gives what an earlier attempt left, too."""
        found = {(path.name, path.stat().st_mtime_ns) for path in self.folder.glob("step-*.json")}
        self._given = found
        return [read_json(self.folder / name) for name, _ in sorted(found - self._seen)]

    def mark_seen(self) -> None:
        """Do not give the rows of the last call again."""
        self._seen |= self._given


def checkpoint_records(run_id: str, folder: Path) -> list[CheckpointRecord]:
    """The whole checkpoints of a run. The best is the one that the newest of them names."""
    paths = sorted(folder.glob("step-*/progress.json"))
    if not paths:
        return []
    best_step = read_json(paths[-1])["best_step"]
    return [
        CheckpointRecord(run_id, saved["step"], str(path.parent), saved["step"] == best_step, saved["validation_accuracy"])
        for path, saved in ((path, read_json(path)) for path in paths)
    ]


def last_metrics(curve: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures that sum up a training: its last step's, and the largest log-prob gap of any step."""
    last = curve[-1]
    kept = ("step", "reward_mean", "accuracy", "mean_tokens", "entropy", "positive_fraction", "zero_variance_fraction")
    return {**{key: last[key] for key in kept}, "largest_logprob_gap": max(row["logprob_gap"] for row in curve)}


def checkpoint_weights_id(folder: Path) -> str:
    """The id drawn when a checkpoint was written: equal ids mean equal weights."""
    weights_id: str = read_json(folder / "progress.json")["weights_id"]
    return weights_id
