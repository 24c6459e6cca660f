"""Opens the runs that a configuration describes, and notes how work on them ended, whatever ends it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from flows.server.gpu_limit import accelerator_slot
from flows.server.outages import outlive_server
from flows.server.termination import noticing_termination, termination_requested
from pipeline_lib.config import laconic_home, load_config
from pipeline_lib.messages.faults import explain, still_called_running
from pipeline_lib.messages.harmless import make_messages_harmless
from pipeline_lib.runs.base_model import pinned
from pipeline_lib.runs.session import RunSession

logger = logging.getLogger(__name__)

_started: dict[str, RunSession] = {}


def sessions_of(config: str, overrides: list[str], force: bool) -> list[RunSession]:
    """The run of a configuration file, followed by its control when there is one."""
    settings = pinned(load_config(config, overrides))
    runs = [RunSession(settings, force=force)]
    if settings.control.enabled:
        runs.append(RunSession(settings.control_variant(), control_of=settings.run_id, force=force))
    return [_started.pop(run.run_id, run) for run in runs]


def start_workers(config: str, overrides: list[str], force: bool) -> None:
    """Hold the runs and start the workers of those that have training to do; the flow that opens these runs next takes them over.

    Imports and engine take tens of seconds: called before a flow, they pass while Prefect starts.
    """
    runs = sessions_of(config, overrides, force)
    for run in runs:
        run.acquire()
        _started[run.run_id] = run
    for run in runs if runs[0].config.control.side_by_side else runs[:1]:
        if not run.is_trained:
            _ = run.worker


@contextmanager
def opened_runs(
    config: str, overrides: list[str], force: bool, uses_engine: bool = True, start_early: bool = False
) -> Iterator[list[RunSession]]:
    """The runs of a configuration, noted as being worked on; their workers end with the block.

    `uses_engine` waits for a slot of the `gpu` limit first; `start_early` starts the workers before anything else.
    """
    with noticing_termination(), accelerator_slot() if uses_engine else nullcontext():
        if start_early:
            start_workers(config, overrides, force)
        with opened(sessions_of(config, overrides, force)) as runs:
            yield runs


@contextmanager
def opened(runs: list[RunSession]) -> Iterator[list[RunSession]]:
    """Note runs as being worked on, and how that ended."""
    make_messages_harmless()  # a worker of Prefect's calls flows without the command line
    settle_runs()  # of earlier commands that were killed
    for run in runs:
        run.acquire()
    from prefect.context import FlowRunContext  # slow to import: the workers' start must not wait for it

    from tasks.artifacts import publish_lineage

    context = FlowRunContext.get()
    flow_run_id = str(context.flow_run.id) if context and context.flow_run else None
    opened_ids: set[str] = set()
    left = list(runs)
    try:
        for run in runs:
            opened_ids.add(run.run_id)
            run.open(flow_run_id)
            publish_lineage(run)
        yield runs
        for run in runs:
            run.close_worker()
        while left:
            left[0].finish("completed")
            left.pop(0).release()
    except BaseException as error:
        # The signal may have run into a library that makes an error of its own of it.
        failed = isinstance(error, Exception) and not termination_requested()
        reason = "told to end" if termination_requested() else explain(error, laconic_home())
        for run in left:
            _end_early(run, "failed" if failed else "cancelled", reason, error, run.run_id in opened_ids)
        raise


def _end_early(run: RunSession, status: str, reason: str, error: BaseException, was_opened: bool) -> None:
    """End a run whatever goes wrong with that: neither `error` may get lost by it, nor what is done for the other runs."""
    try:
        run.close_worker(at_once=True)
        if was_opened:
            run.finish(status, reason)
    except Exception as trouble:
        logger.debug("run %s could not be ended in order", run.run_id, exc_info=True)
        error.add_note(still_called_running(run.run_id, trouble, laconic_home()))
    finally:
        with suppress(OSError):
            run.release()


@contextmanager
def one_retraining(model_name: str) -> Iterator[None]:
    """Hold the retraining of a registered model: two at once would train from the same champion. Raises ValueError."""
    from pipeline_lib.processes import lock_run

    with lock_run(laconic_home(), f"retraining-{model_name}"):
        yield


def settle_runs(**_: Any) -> None:
    """Hook of a flow whose process was killed, run by the Prefect worker: nothing stays marked as running."""
    from pipeline_lib.runs.crashed_runs import close_abandoned_runs

    close_abandoned_runs(laconic_home())


# Of every flow that works on runs.
HOOKS: dict[str, Any] = {"on_running": [outlive_server], "on_crashed": [settle_runs], "on_cancellation": [settle_runs]}
