"""Runs a stage: skips what is done, takes over what another run has done, does and records the rest, tells MLflow."""

import logging
import time
from collections.abc import Sequence
from typing import get_args

from pipeline_lib.records import Stage as RolloutStage
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages.display import Display
from pipeline_lib.stages.stage import Postponed, Stage, Summary, U

# From so many files of rollouts on, a finished stage's are compacted.
MANY_FILES = 8

logger = logging.getLogger(__name__)


def run_stage(stage: Stage[U], sessions: Sequence[RunSession], display: Display | None = None) -> Summary:
    """Have a stage done for some runs; returns its summary, with `skipped` or `reused_from` where a stored result stands."""
    display = display or Display()
    for session in sessions:
        session.show_fleet = display.fleet
    units = stage.units(sessions)
    stored = {unit: stage.find_done(unit) for unit in units}
    todo: dict[object, U] = {}  # of several units with the same inputs one is done, where the others can take it over
    for unit in units:
        if stored[unit] is None:
            todo.setdefault(unit.fingerprint if stage.takes_over else unit, unit)
    if stage.leaves_files and not stage.repeats:
        for unit in (unit for unit in units if stored[unit] is None):
            # Forced, all of them: also those of checkpoints and benchmarks that are evaluated no more.
            unit.session.ledger.forget_stage(stage.name, None if stage.is_forced(unit.session) else unit.name)
    done = _do(stage, units, list(todo.values()), display)
    for session in dict.fromkeys(unit.session for unit in done):
        _compact(stage, session)
    results = [done[unit] if unit in done else _use_stored(stage, unit) for unit in units]
    for session in sessions if stage.always_tells else [unit.session for unit in done]:
        child = send_stage(stage, session)
        stage.show(session, child, display)
    return stage.sum_up(results)


def _do(stage: Stage[U], units: Sequence[U], todo: Sequence[U], display: Display) -> dict[U, Summary]:
    started = time.monotonic()
    stage.prepare(units, todo, display)
    shared_seconds = (time.monotonic() - started) / max(1, len(todo))
    done = {}
    for unit in todo:
        started = time.monotonic()
        done[unit] = summary = stage.work(unit, display)
        if not isinstance(summary, Postponed):
            seconds = shared_seconds + time.monotonic() - started
            unit.session.ledger.record_stage(stage.name, unit.name, unit.fingerprint, seconds, summary)
    return done


def _compact(stage: Stage[U], session: RunSession) -> None:
    """Make few large files of the rollouts of a finished stage; what is in the way of that is in nobody else's way."""
    if stage.name in get_args(RolloutStage):
        try:
            session.store.compact(session.run.run_id, stage.name, MANY_FILES)  # type: ignore[arg-type]
        except OSError as error:
            logger.warning("the rollouts of %s are compacted later ('laconic compact'): %s", session.run.run_id, error)


def _use_stored(stage: Stage[U], unit: U) -> Summary:
    """The run's own result is skipped; another's, also one that was made a moment ago, is taken over."""
    ledger = unit.session.ledger
    stored = ledger.stage_result(stage.name, unit.name, unit.fingerprint)
    assert stored, "found before, or done for the same inputs"
    if stored["run_id"] == unit.session.run.run_id:
        return {**stored["summary"], "skipped": True}
    stage.take_over(unit, stored["run_id"])
    ledger.record_stage(stage.name, unit.name, unit.fingerprint, 0.0, stored["summary"], reused_from=stored["run_id"])
    return {**stored["summary"], "reused_from": stored["run_id"]}


def send_stage(stage: Stage[U], session: RunSession) -> str | None:
    """Send what is stored of a finished stage to its MLflow run, and end that; returns its id."""
    child = session.child(stage.name)
    stage.send(session, child)
    session.finish_child(stage.name)
    return child
