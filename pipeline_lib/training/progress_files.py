"""What a training worker leaves on disk, and how it is read from outside: step metrics, alarms, checkpoints. Imports no torch."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

from pipeline_lib.records import Alarm, CheckpointRecord, TrainingStep
from pipeline_lib.training.checkpoint_files import best_checkpoint, readable_records, step_name
from pipeline_lib.worker.jobs import read_json, write_json

logger = logging.getLogger(__name__)


class StepFolder:
    """What training writes about its steps: `step-<n>.json` (metrics) and `alarm-<n>-<kind>.json`; one rank writes, all read."""

    def __init__(self, folder: Path, is_writer: bool) -> None:
        self._folder = folder
        self._is_writer = is_writer

    def rows(self) -> list[dict[str, Any]]:
        """The metrics of all steps so far, by step."""
        return [read_json(path) for path in sorted(self._folder.glob("step-*.json"))]

    def write_step(self, record: TrainingStep) -> None:
        """The metrics of a step, for whoever follows the training."""
        if self._is_writer:
            write_json(self._folder / f"step-{record.step:05d}.json", asdict(record))

    def write_alarms(self, alarms: Sequence[Alarm]) -> None:
        """Alarms that were raised at a step."""
        for alarm in alarms:
            logger.warning("step %d: %s, %.4g against %.4g: %s", *astuple(alarm)[1:])
            if self._is_writer:
                write_json(self._folder / f"alarm-{alarm.step:05d}-{alarm.kind}.json", asdict(alarm))

    def forget_after(self, step: int) -> None:
        """Remove what a killed attempt wrote after its last checkpoint: those steps are taken again."""
        for path in [*self._folder.glob("step-*.json"), *self._folder.glob("alarm-*.json")] if self._is_writer else []:
            if int(path.stem.split("-")[1]) > step:
                path.unlink()


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

    def all_rows(self) -> list[dict[str, Any]]:
        """Rows of `training_steps` of all steps, by step."""
        return [read_json(path) for path in sorted(self.folder.glob("step-*.json"))]

    def alarms(self) -> list[Alarm]:
        """All alarms so far, by step."""
        return [Alarm(**read_json(path)) for path in sorted(self.folder.glob("alarm-*.json"))]

    def mark_seen(self) -> None:
        """Do not give the rows of the last call again."""
        self._seen |= self._given


def checkpoint_records(run_id: str, folder: Path) -> list[CheckpointRecord]:
    """The checkpoints of a run whose records are as they were written, and which is the best (`best_checkpoint`)."""
    records = readable_records(folder)
    if not records:
        return []
    best = best_checkpoint(folder, next(reversed(records.values())))
    return [
        CheckpointRecord(
            run_id, step, str(folder / step_name(step)), best is not None and step == best["step"], saved["validation_accuracy"]
        )
        for step, saved in records.items()
    ]


def last_metrics(curve: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures that sum up a training: its last step's, and the largest log-prob gap of any step."""
    last = curve[-1]
    kept = ("step", "reward_mean", "accuracy", "mean_tokens", "entropy", "positive_fraction", "zero_variance_fraction")
    return {**{key: last[key] for key in kept}, "largest_logprob_gap": max(row["logprob_gap"] for row in curve)}
