"""Runs inside a flow: opened when their turn has come, noted with the flow run's id, and ended whatever ends the flow."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from prefect.context import FlowRunContext

from flows.server.outages import outlive_server
from flows.server.termination import termination_requested
from pipeline_lib.config import laconic_home, load_config
from pipeline_lib.messages.harmless import make_messages_harmless
from pipeline_lib.runs.crashed_runs import close_crashed_runs
from pipeline_lib.runs.session import RunSession, sessions_of
from pipeline_lib.stages.opened import opened
from pipeline_lib.stages.profile import imported_profile
from tasks.artifacts import publish_lineage

# How a flow comes by the runs of its parameters config, overrides, force. The command line has loaded them already.
Load = Callable[[str, list[str], bool], Sequence[RunSession]]


def load_sessions(config: str, overrides: list[str], force: bool) -> list[RunSession]:
    return sessions_of(load_config(config, overrides), force)


def load_profiled(config: str, overrides: list[str], force: bool, say: Callable[[str], None] = print) -> list[RunSession]:
    """The runs of a stage behind the profile: with a profile of rollouts made elsewhere, where that is what there is."""
    sessions = load_sessions(config, overrides, force)
    if imported := imported_profile(sessions[0].run):
        say(f"with the profile that was made of rollouts: {' '.join(imported)}")
        sessions = load_sessions(config, [*overrides, *imported], force)
    return sessions


def opened_in_flow(sessions: Sequence[RunSession]) -> AbstractContextManager[Sequence[RunSession]]:
    """Runs that the flow around works on."""
    make_messages_harmless()  # a worker of Prefect's calls flows without the command line
    return opened(sessions, flow_run_id(), publish_lineage, termination_requested)


def flow_run_id() -> str | None:
    context = FlowRunContext.get()
    return str(context.flow_run.id) if context and context.flow_run else None


def reconcile_runs(**_: Any) -> None:
    """Hook of a flow whose process was killed, run by the Prefect worker: nothing stays marked as running."""
    close_crashed_runs(laconic_home())


# Of every flow that works on runs.
HOOKS: dict[str, Any] = {"on_running": [outlive_server], "on_crashed": [reconcile_runs], "on_cancellation": [reconcile_runs]}
