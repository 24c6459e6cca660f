"""Runs of which MLflow has not got everything, or has not been told the end: an empty file in the home stands for each.

It is there from before MLflow hears of a run until it is known to have all of it, so whatever ends a process leaves the file.
"""

import logging
from pathlib import Path

from pipeline_lib.tracking.tracker import Tracker

logger = logging.getLogger(__name__)

_notes: list[tuple[Path, str]] = []


def expect_delivery(home: Path, run_id: str) -> None:
    """MLflow is about to hear of a run."""
    path = _file(home, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def note_delivery(home: Path, run_id: str, tracker: Tracker) -> None:
    """MLflow has everything of a run, as far as its tracker knows, or not: then the command says so at its end."""
    missing = tracker.undelivered()
    if missing is None:
        _file(home, run_id).unlink(missing_ok=True)
    else:
        note = f"{run_id}: {missing}; the same command sends what is missing"
        _notes.append((home, note))
        logger.info("run %s", note)  # on Prefect's pages; a terminal gets it at the end


def runs_behind(home: Path) -> list[str]:
    """Ids of all runs of which MLflow may lack something; some are being worked on."""
    folder = home / "tracking"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def undelivered_notes(home: Path) -> list[str]:
    """What runs of a home that this process worked on could not deliver, a line per run."""
    return [note for noted, note in _notes if noted == home]


def _file(home: Path, run_id: str) -> Path:
    return home / "tracking" / run_id
