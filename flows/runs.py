"""Opens the runs that a configuration describes, and notes how work on them ended, whatever ends it."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.context import FlowRunContext

from pipeline_lib.config import load_config
from pipeline_lib.session import RunSession


@contextmanager
def opened_runs(config: str, overrides: list[str], force: bool, start_workers: bool = False) -> Iterator[list[RunSession]]:
    """The run of a configuration file, followed by its control when there is one; their workers end with the block."""
    settings = load_config(config, overrides)
    runs = [RunSession(settings, force=force)]
    if settings.control.enabled:
        runs.append(RunSession(settings.control_variant(), control_of=settings.run_id, force=force))
    context = FlowRunContext.get()
    flow_run_id = str(context.flow_run.id) if context and context.flow_run else None
    try:
        for run in runs:
            if start_workers and not run.is_trained:
                _ = run.worker  # imports and engine take tens of seconds: they start while the run is opened
        for run in runs:
            run.open(flow_run_id)
        yield runs
    except BaseException as error:
        status = "failed" if isinstance(error, Exception) else "cancelled"
        for run in runs:
            run.close_worker()
            run.finish(status, f"{type(error).__name__}: {error}")
        raise
    for run in runs:
        run.close_worker()
        run.finish("completed")
