"""What is called running although nothing runs it any more: flow runs of the work pool, and runs in the store."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import State, StateType
from prefect.states import Cancelled, Crashed

from flows.server.deploy import POOL, free_slots
from flows.server.outages import tell_ends
from pipeline_lib.runs.crashed_runs import close_crashed_runs

UNFINISHED = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]))
MESSAGE = "Nothing runs it any more; started again with the same parameters it resumes from what is stored."


def reconcile_home(home: Path, say: Callable[[str], None]) -> None:
    """Mark flow runs and runs that nothing works on as ended, and give back all slots of the `gpu` limit; says a line on each.

    Right only while no worker runs flows.
    """
    closed = close_crashed_runs(home)
    for line in [f"run {row['run_id']} was abandoned: marked as failed" for row in closed] + tell_ends(home):
        say(line)
    flow_runs = [UUID(row["prefect_flow_run_id"]) for row in closed if row["prefect_flow_run_id"]]
    with get_client(sync_client=True) as client:
        stale = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=UNFINISHED),
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])),
        )
        if flow_runs:  # those started from a command line have no pool
            stale += client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=flow_runs), state=UNFINISHED))
        for flow_run in {run.id: run for run in stale}.values():
            is_cancelling = flow_run.state_type == StateType.CANCELLING
            state: State[Any] = Cancelled(message=MESSAGE) if is_cancelling else Crashed(message=MESSAGE)
            client.set_flow_run_state(flow_run.id, state, force=True)
            say(f"flow run {flow_run.name} was left {flow_run.state_name}: marked as {state.name}")
    free_slots()
