"""A job that outlives its worker: one that died is followed by another, which goes on from what is on the disk."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline_lib.jobs import GenerateJob, TrainJob
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages.display import Progress
from pipeline_lib.store.rollout_files import stage_files
from pipeline_lib.worker.process import WorkerFailed

logger = logging.getLogger(__name__)


def run_job(
    session: RunSession,
    stage: str,
    make_job: Callable[[], GenerateJob | TrainJob],
    on_progress: Callable[[dict[str, Any]], None],
    count_done: Callable[[], int],
) -> Any:
    """Run a job on the run's worker and return its result, with up to `compute.restarts` new workers; each is an event of the run.

    `make_job` is called for each worker, `count_done` counts what is on the disk (steps, shards). Raises the last WorkerFailed: after
    an error that would come again, and where a worker died as the one before it, without anything done or at the same place.
    """
    worker, restarts = session.worker, session.run.config.compute.restarts
    died_at: int | None = None
    for left in range(restarts, -1, -1):
        job = make_job()
        found = count_done()
        try:
            return worker.run(job, on_progress)
        except WorkerFailed as failure:
            if failure.repeats or not restarts:
                raise
            done = count_done()
            is_stuck = died_at is not None and done in (found, died_at)
            if is_stuck or not left:
                why = (
                    "as the one before it, and nothing new was done"
                    if is_stuck
                    else f"compute.restarts = {restarts} were used up"
                )
                session.ledger.note_event("worker_given_up", stage, done, str(failure))
                raise WorkerFailed(f"{failure}; not started again: {why}") from failure
            died_at = done
            session.ledger.note_event("worker_restarted", stage, done, str(failure))
            logger.warning("%s: %s; a new worker goes on (%d more if that fails)", session.run.run_id, failure, left - 1)
            worker.restart()
    raise AssertionError("the last worker returns or raises")


def generate(session: RunSession, stage: str, job: GenerateJob, progress: Progress) -> Any:
    """Run a job whose shards show how far it is; a whole one that is there is not made again."""

    def count_shards() -> int:
        return sum(len(stage_files(Path(unit.output_folder), f"{unit.shard_prefix}-")) for unit in job.units)

    return run_job(session, stage, lambda: job, lambda state: progress.update(state["done"], state["total"]), count_shards)
