"""The whole pipeline as a library call: `run_pipeline("configs/demo.toml")`. Prefect's flow calls the same `run_whole`."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from pathlib import Path
from typing import Any

from pipeline_lib.config import RunConfig, load_config
from pipeline_lib.runs.session import RunSession, sessions_of
from pipeline_lib.stages import STAGES, StageEntry
from pipeline_lib.stages.display import Display
from pipeline_lib.stages.opened import opened, started_early
from pipeline_lib.stages.runner import run_stage
from pipeline_lib.stages.stage import Summary
from pipeline_lib.worker.devices import runs_side_by_side

# Does a stage for some runs.
Do = Callable[[StageEntry, Sequence[RunSession]], Summary]


def run_pipeline(
    config: str | Path | RunConfig, overrides: Sequence[str] = (), force: bool = False, display: Display | None = None
) -> dict[str, Any]:
    """Run every stage of a configuration (or its file), and of its control; returns `run_ids` and the path of the `report`.

    What is stored for the same inputs is not done again unless `force` is set; an interrupted run is resumed.
    """
    settings = config if isinstance(config, RunConfig) else load_config(config, list(overrides))
    sessions = sessions_of(settings, force)
    with started_early(sessions), opened(sessions):
        return run_whole(sessions, lambda entry, some: run_stage(entry.stage, some, display))


def run_whole(sessions: Sequence[RunSession], do: Do) -> dict[str, Any]:
    is_served = sessions[0].run.config.is_served  # elsewhere: there is nothing to train
    summaries = {entry.name: run_for_all(entry, sessions, do) for entry in STAGES.values() if not (entry.trains and is_served)}
    return {"run_ids": [session.run.run_id for session in sessions], **summaries["report"][0]}


def run_for_all(entry: StageEntry, sessions: Sequence[RunSession], do: Do) -> list[Summary]:
    """One stage of a run and its control, in the way that the table tells. Raises ValueError for one that its model cannot go through."""
    entry.require_possible(sessions[0].run.config)
    if entry.runs == "together":
        return [do(entry, sessions)]
    if entry.runs == "in turn":
        return [do(entry, [session]) for session in sessions]
    if runs_side_by_side(sessions[0].run.config):
        results = _side_by_side(entry, sessions, do)
        for control in sessions[1:]:  # later stages use the worker of the first
            control.close_worker()
        return results
    results = []
    for session in sessions:
        results.append(do(entry, [session]))
        session.close_worker()  # frees the accelerator for the next
    return results


def _side_by_side(entry: StageEntry, sessions: Sequence[RunSession], do: Do) -> list[Summary]:
    """In threads, each in the caller's context, by which Prefect knows its flow."""
    pool = ThreadPoolExecutor(len(sessions), thread_name_prefix=entry.name)
    try:
        futures = [pool.submit(copy_context().run, do, entry, [session]) for session in sessions]
        wait(futures)  # one that fails must not end the other
        return [future.result() for future in futures]
    finally:
        pool.shutdown(wait=False)  # a process that is terminated ends the workers, and the threads by that
