"""What a training worker leaves on disk, and how it is read from outside: step metrics, alarms, checkpoints. Imports no torch."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import Any

from pipeline_lib.jobs import read_json, write_json
from pipeline_lib.records import Alarm, CheckpointRecord, TrainingStep
from pipeline_lib.training.checkpoint_files import best_checkpoint, readable_records, record_digest, step_name

logger = logging.getLogger(__name__)


class StepFolder:
    """What training writes about its steps: `step-<n>.json` (metrics) and `alarm-<n>-<kind>.json`; one rank writes, all read."""

    def __init__(self, folder: Path, is_writer: bool) -> None:
        self._folder = folder
        self._is_writer = is_writer

    def rows(self, last_step: int) -> list[dict[str, Any]]:
        """The metrics of the steps up to one, by step; later ones are a killed attempt's, and taken again."""
        return [_read(path) for path in sorted(self._folder.glob("step-*.json")) if _step_of(path) <= last_step]

    def write_step(self, record: TrainingStep) -> None:
        """The metrics of a step, for whoever follows the training."""
        if self._is_writer:
            _write_step(self._folder, asdict(record))

    def write_alarms(self, alarms: Sequence[Alarm]) -> None:
        """Alarms that were raised at a step."""
        for alarm in alarms:
            logger.warning("step %d: %s, %.4g against %.4g: %s", *astuple(alarm)[1:])
            if self._is_writer:
                _write_alarm(self._folder, asdict(alarm))


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
        return [_read(self.folder / name) for name, _ in sorted(found - self._seen)]

    def all_rows(self) -> list[dict[str, Any]]:
        """Rows of `training_steps` of all steps, by step."""
        return [_read(path) for path in sorted(self.folder.glob("step-*.json"))]

    def alarms(self) -> list[Alarm]:
        """All alarms so far, by step."""
        return [Alarm(**_read(path)) for path in sorted(self.folder.glob("alarm-*.json"))]

    def mark_seen(self) -> None:
        """Do not give the rows of the last call again."""
        self._seen |= self._given

    def restore(self, last_step: int, rows: Sequence[Mapping[str, Any]], alarms: Sequence[Mapping[str, Any]]) -> int:
        """Write what is lost or damaged up to a step anew from the stored `rows` and `alarms`.

        Returns the last step up to which, then, every record is there.
        """
        by_step = {row["step"]: row for row in rows}
        stored = {_alarm_name(alarm): alarm for alarm in alarms if alarm["step"] <= last_step}
        written_alarms = {path.name for path in self.folder.glob("alarm-*.json") if _step_of(path) <= last_step}
        lost_alarms = {name for name in stored.keys() | written_alarms if _is_lost(self.folder / name)}
        lost_steps = {step for step in range(1, last_step + 1) if _is_lost(self.folder / _row_name(step))}
        for step in lost_steps & by_step.keys():
            _write_step(self.folder, {each.name: by_step[step][each.name] for each in fields(TrainingStep)})
        for name in lost_alarms & stored.keys():
            _write_alarm(self.folder, stored[name])
        restored = lost_steps & by_step.keys() | {_step_of(Path(name)) for name in lost_alarms & stored.keys()}
        if restored:
            told = "records in %s of steps %s were lost or damaged: restored from the store"
            logger.warning(told, self.folder, ", ".join(map(str, sorted(restored))))
        gone = lost_steps - by_step.keys() | {_step_of(Path(name)) for name in lost_alarms - stored.keys()}
        return min(gone) - 1 if gone else last_step

    def forget_after(self, step: int) -> None:
        """Remove what a killed attempt wrote after its last checkpoint: those steps are taken again."""
        for path in [*self.folder.glob("step-*.json"), *self.folder.glob("alarm-*.json")]:
            if _step_of(path) > step:
                path.unlink()


def _row_name(step: int) -> str:
    return f"step-{step:05d}.json"


def _alarm_name(alarm: Mapping[str, Any]) -> str:
    return f"alarm-{alarm['step']:05d}-{alarm['kind']}.json"


def _step_of(path: Path) -> int:
    return int(path.stem.split("-")[1])


def _write_step(folder: Path, row: Mapping[str, Any]) -> None:
    _write(folder / _row_name(row["step"]), row)


def _write_alarm(folder: Path, alarm: Mapping[str, Any]) -> None:
    _write(folder / _alarm_name(alarm), alarm)


def _write(path: Path, record: Mapping[str, Any]) -> None:
    write_json(path, {**record, "record_sha256": record_digest(record)})


def _read(path: Path) -> dict[str, Any]:
    """A record without its digest, which those of older versions do not have. Raises ValueError where it is damaged."""
    try:
        record: dict[str, Any] = read_json(path)
        digest = record.pop("record_sha256", None)
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: the same command again restores it, or trains again from before it") from error
    if digest not in (None, record_digest(record)) or record.get("step") != _step_of(path):
        raise ValueError(f"{path} is not as it was written: the same command again restores it, or trains again from before it")
    return record


def _is_lost(path: Path) -> bool:
    try:
        _read(path)
    except (OSError, ValueError):
        return True
    return False


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
