"""Runs a stage: skips what is done, takes over what another run has done, does and records the rest, tells MLflow."""

import time
from collections.abc import Sequence

from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages.display import Display
from pipeline_lib.stages.stage import Postponed, Stage, Summary, U


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
