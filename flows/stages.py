"""Each stage as a flow of its own, made from the table of stages: it works from what earlier stages stored.

Deployments and tests name the flow of a stage `flows.stages.run_NAME`.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from prefect import Flow, flow

from flows.parameters import NO_CHANGES, Changes, ConfigFile, overrides_of
from flows.runs import HOOKS, Load, load_profiled, load_sessions, opened_in_flow
from flows.server.gpu_limit import accelerator_slot
from flows.server.termination import noticing_termination
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages import STAGES, StageEntry
from pipeline_lib.stages.opened import started_early
from pipeline_lib.stages.pipeline import run_for_all
from tasks.stage import do_stage

PREFIX = "run_"
PARAMETERS = """

Args:
    config: The configuration file
    changes: What is changed in it
    overrides: Further changes, each section.key=value
    force: Do it again even when a result for the same inputs is stored
"""


def make_flow(
    name: str,
    words: str,
    work: Callable[[Sequence[RunSession]], Any],
    load: Load,
    uses_engine: bool = True,
    start_early: bool = False,
) -> Flow[Any, Any]:
    """A flow that does some work on the runs of a configuration file; `load` is how it comes by them."""

    def run(
        config: ConfigFile, changes: Changes = NO_CHANGES, overrides: list[str] | None = None, force: bool = False
    ) -> list[dict[str, Any]] | dict[str, Any]:
        # Where an engine is used, runs are loaded once a slot of the `gpu` limit is there.
        with noticing_termination(), accelerator_slot() if uses_engine else nullcontext():
            sessions = load(config, overrides_of(changes, overrides), force)
            with started_early(sessions, start_early), opened_in_flow(sessions):
                result: list[dict[str, Any]] | dict[str, Any] = work(sessions)
                return result

    run.__doc__, run.__name__ = words + PARAMETERS, PREFIX + name
    made: Flow[Any, Any] = flow(name=f"laconic-{name}", flow_run_name="{config}", log_prints=True, **HOOKS)(run)
    return made


def load_of_stage(entry: StageEntry) -> Load:
    """How the flow of a stage comes by its runs."""
    return load_sessions if entry.name == "profile" else load_profiled


def stage_flow(entry: StageEntry, load: Load | None = None) -> Flow[Any, Any]:
    """The flow of a stage, which returns its summary for each run, or the one of all."""
    load = load or load_of_stage(entry)

    def work(sessions: Sequence[RunSession]) -> Any:
        summaries = run_for_all(entry, sessions, do_stage)
        return summaries[0] if entry.runs == "together" else summaries

    return make_flow(entry.name, entry.help, work, load, entry.uses_engine)


_flows = {PREFIX + entry.name: stage_flow(entry) for entry in STAGES.values()}


def __getattr__(name: str) -> Flow[Any, Any]:
    if name in _flows:
        return _flows[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
