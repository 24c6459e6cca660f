"""What training writes about its steps, and how it is read and restored from outside. Imports no torch."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import Any

from pipeline_lib.jobs import read_json, write_json
from pipeline_lib.records import Alarm, TrainingStep
from pipeline_lib.training.checkpoint_files import record_digest

logger = logging.getLogger(__name__)


class StepFolder:
    """`step-<n>.json`, the metrics of a step, and `alarm-<n>-<kind>.json`.

    Of the ranks that train one writes, and all read. The process that follows them gets from `new_rows` what has come since
    `mark_seen`, and restores what was lost between two attempts.
    """

    def __init__(self, path: Path, is_writer: bool = True) -> None:
        self.path = path
        self._is_writer = is_writer
        self._seen: set[tuple[str, int]] = set()
        self._given: set[tuple[str, int]] = set()

    def write_step(self, record: TrainingStep) -> None:
        """The metrics of a step, for whoever follows the training run."""
        if self._is_writer:
            self._write(_row_name(record.step), asdict(record))

    def write_alarms(self, alarms: Sequence[Alarm]) -> None:
        """Say and keep the alarms that a step has raised."""
        for alarm in alarms:
            logger.warning("step %d: %s, %.4g against %.4g: %s", *astuple(alarm)[1:])
            if self._is_writer:
                self._write(_alarm_name(asdict(alarm)), asdict(alarm))

    def rows(self, last_step: int | None = None) -> list[dict[str, Any]]:
        """Rows of `training_steps`, by step; those after `last_step` are a killed attempt's, and its steps are taken again."""
        paths = sorted(self.path.glob("step-*.json"))
        return [_read(path) for path in paths if last_step is None or _step_of(path) <= last_step]

    def last_step(self) -> int:
        """The newest step that has a row; 0 without any."""
        return max(map(_step_of, self.path.glob("step-*.json")), default=0)

    def new_rows(self) -> list[dict[str, Any]]:
        """Rows that are new or were written again, by step. The first call gives what an earlier attempt left, too."""
        self._given = {(path.name, path.stat().st_mtime_ns) for path in self.path.glob("step-*.json")}
        return [_read(self.path / name) for name, _ in sorted(self._given - self._seen)]

    def mark_seen(self) -> None:
        """Do not give the rows of the last call again."""
        self._seen |= self._given

    def alarms(self) -> list[Alarm]:
        """All alarms so far, by step."""
        return [Alarm(**_read(path)) for path in sorted(self.path.glob("alarm-*.json"))]

    def restore(self, last_step: int, rows: Sequence[Mapping[str, Any]], alarms: Sequence[Mapping[str, Any]]) -> int:
        """Write what is lost or damaged up to a step anew from the stored `rows` and `alarms`.

        Returns the last step up to which, then, every record is there.
        """
        stored = {_row_name(row["step"]): {each.name: row[each.name] for each in fields(TrainingStep)} for row in rows}
        stored |= {_alarm_name(alarm): dict(alarm) for alarm in alarms}
        expected = {_row_name(step) for step in range(1, last_step + 1)} | stored.keys()
        expected |= {path.name for path in self.path.glob("alarm-*.json")}
        lost = {name for name in expected if _step_of(Path(name)) <= last_step and _is_lost(self.path / name)}
        for name in lost & stored.keys():
            self._write(name, stored[name])
        if restored := {_step_of(Path(name)) for name in lost & stored.keys()}:
            told = "records in %s of steps %s were lost or damaged: restored from the store"
            logger.warning(told, self.path, ", ".join(map(str, sorted(restored))))
        return min((_step_of(Path(name)) - 1 for name in lost - stored.keys()), default=last_step)

    def forget_after(self, step: int) -> None:
        """Remove what a killed attempt wrote after its last checkpoint: those steps are taken again."""
        for path in [*self.path.glob("step-*.json"), *self.path.glob("alarm-*.json")]:
            if _step_of(path) > step:
                path.unlink()

    def _write(self, name: str, record: Mapping[str, Any]) -> None:
        write_json(self.path / name, {**record, "record_sha256": record_digest(record)})


def _row_name(step: int) -> str:
    return f"step-{step:05d}.json"


def _alarm_name(alarm: Mapping[str, Any]) -> str:
    return f"alarm-{alarm['step']:05d}-{alarm['kind']}.json"


def _step_of(path: Path) -> int:
    return int(path.stem.split("-")[1])


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


def last_metrics(curve: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures that sum up a training run: its last step's, and the largest log-prob gap of any step."""
    last = curve[-1]
    kept = ("step", "reward_mean", "accuracy", "mean_tokens", "entropy", "positive_fraction", "zero_variance_fraction")
    return {**{key: last[key] for key in kept}, "largest_logprob_gap": max(row["logprob_gap"] for row in curve)}
