"""Runs while they are worked on: held, noted as running, and noted as ended, whatever ends the work."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from pipeline_lib.config import laconic_home
from pipeline_lib.messages.faults import explain, still_called_running
from pipeline_lib.runs.crashed_runs import close_crashed_runs
from pipeline_lib.runs.ledger import Ended
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages import STAGES
from pipeline_lib.stages.runner import send_stage
from pipeline_lib.stages.train import is_trained
from pipeline_lib.worker.devices import runs_side_by_side

logger = logging.getLogger(__name__)

# Terminated, a process has few seconds in all; what MLflow does not take in these is sent by the next command.
CANCELLED_TRACKING_SECONDS = 1.5


@contextmanager
def started_early(sessions: Sequence[RunSession], starts_workers: bool = True) -> Iterator[Sequence[RunSession]]:
    """Hold runs and start the workers of those that have training to do: imports and engine take tens of seconds.

    Whatever is still held or running at the end of the block is given back.
    """
    try:
        if starts_workers:
            for session in sessions:
                session.acquire()
            for session in sessions if runs_side_by_side(sessions[0].run.config) else sessions[:1]:
                if not is_trained(session):
                    _ = session.worker
        yield sessions
    finally:
        for session in sessions:
            session.close_worker(at_once=True)
            session.release()


@contextmanager
def opened(
    sessions: Sequence[RunSession],
    flow_run_id: str | None = None,
    on_open: Callable[[RunSession], object] = lambda session: None,
    is_terminated: Callable[[], bool] = lambda: False,
) -> Iterator[Sequence[RunSession]]:
    """Note runs as being worked on, and how that ended; their workers end with the block.

    `is_terminated`: whether the process is being terminated, by a signal that may have run into any library's error.
    """
    close_crashed_runs(laconic_home())  # of earlier commands that were killed
    for session in sessions:
        session.acquire()
    opened_ids: set[str] = set()
    left = list(sessions)
    try:
        for session in sessions:
            opened_ids.add(session.run.run_id)
            session.open(flow_run_id)
            on_open(session)
        yield sessions
        for session in sessions:
            session.close_worker()
        while left:
            finish(left[0], "completed")
            left.pop(0).release()
    except BaseException as error:
        failed = isinstance(error, Exception) and not is_terminated()
        reason = "terminated" if is_terminated() else explain(error, laconic_home())
        for session in left:
            _end_early(session, "failed" if failed else "cancelled", reason, error, session.run.run_id in opened_ids)
        raise


def _end_early(session: RunSession, status: Ended, reason: str, error: BaseException, was_opened: bool) -> None:
    """End a run whatever goes wrong with that: neither `error` may get lost by it, nor what is done for the other runs."""
    try:
        session.close_worker(at_once=True)
        if was_opened:
            finish(session, status, reason)
    except Exception as trouble:
        logger.debug("run %s could not be ended in order", session.run.run_id, exc_info=True)
        error.add_note(still_called_running(session.run.run_id, trouble, laconic_home()))
    finally:
        with suppress(OSError):
            session.release()


def finish(session: RunSession, status: Ended, error: str | None = None) -> None:
    """Note how work on a run ended, in the store and in MLflow."""
    from pipeline_lib.tracking import note_delivery

    run_id, tracker = session.run.run_id, session.tracker
    session.give_room()
    if status == "completed":
        # Before the row: a run that is killed here is resumed, which a completed one need not be.
        if tracker.flush():
            _catch_up(session)
        tracker.end_runs(run_id, "FINISHED")
        if tracker.available:
            tracker.flush()
        session.ledger.end("completed")
    else:
        # After the row: whoever terminates this process may not wait for a slow tracker.
        session.ledger.end(status, error)
        if status == "cancelled":
            tracker.end_within(CANCELLED_TRACKING_SECONDS)
        tracker.end_runs(run_id, "FAILED" if status == "failed" else "KILLED")
        tracker.flush()
    note_delivery(session.run.home, run_id, tracker)


def _catch_up(session: RunSession) -> None:
    """Send MLflow the stages that are done and that it has not got: of a command that was killed, or found it out of reach."""
    from pipeline_lib.tracking import PARENT_STAGE

    runs = session.tracker.stage_runs(session.run.run_id)
    if runs is None:
        return
    if session.mlflow_run_id is None and PARENT_STAGE in runs:  # it was out of reach when the run was opened
        session.ledger.note_mlflow_run(runs[PARENT_STAGE][0])
    rows = {row["stage"]: row for row in session.store.named("stage_durations", run_id=session.run.run_id)}
    for stage in (entry.stage for name, entry in STAGES.items() if name in rows):
        # Of what was taken over from another run, that run's MLflow run tells.
        is_own = stage.always_tells or not rows[stage.name]["reused_from"]
        if is_own and runs.get(stage.name, ("", ""))[1] != "FINISHED":
            send_stage(stage, session)
