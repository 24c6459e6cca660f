"""A flow goes on when its Prefect server does not: it ends in time, and its end is told when the server is there again."""

import asyncio
import json
import logging
import threading
import time
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from flows.server.termination import termination_requested
from pipeline_lib.config import laconic_home
from pipeline_lib.files.whole_files import write_whole
from tasks.outbox import PATIENCE_SECONDS, Unreachable, named, outbox

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.client.schemas.responses import OrchestrationResult

logger = logging.getLogger(__name__)

# A flow that is terminated has five seconds in all.
TERMINATION_SECONDS: Final = 1.5
EXIT_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 3.0
UNTOLD: Final = "prefect/untold"  # in the home: a file a flow run whose end the server does not know


def outlive_server(flow: Any, flow_run: "FlowRun", state: Any) -> None:
    """Hook of every flow, when it starts: from here on the work does not depend on the server."""
    from prefect.context import SyncClientContext

    context = SyncClientContext.get()
    assert context is not None, "Prefect's engine calls hooks with a client at hand"
    client: Any = context.client
    if not isinstance(client.set_flow_run_state, _Proposals):  # flows inside a flow share its client
        client.set_flow_run_state = _Proposals(client)
    if flow_run.parent_task_run_id is None:
        client.set_flow_run_state.outermost = flow_run.id
    if _untold(laconic_home()):
        outbox.put("how earlier flow runs ended", partial(tell_ends, laconic_home()), key=tell_ends)


class _Proposals:
    """Proposes the states of flow runs; a server that does not answer within seconds is taken to agree."""

    def __init__(self, client: "SyncPrefectClient") -> None:
        self._propose = client.set_flow_run_state
        self.outermost: UUID | None = None

    def __call__(self, flow_run_id: UUID, state: "State[Any]", force: bool = False) -> "OrchestrationResult[Any]":
        what = f"state {state.name} of flow run {flow_run_id}"
        seconds = TERMINATION_SECONDS if termination_requested() else PATIENCE_SECONDS
        is_told = False
        try:
            # A flow inside another does not wait for a server that is known to be away.
            if flow_run_id != self.outermost and outbox.is_away:
                raise Unreachable(what)
            answer: OrchestrationResult[Any] = outbox.ask(
                what, partial(self._propose, flow_run_id, state, force=force), seconds
            )
            is_told = True
        except Exception as error:  # also a server that came back without what it had: the work is done all the same
            answer = _agreed(state)
            logger.debug("%s is not told: %s", what, error)
            if state.is_final():
                _keep_end(flow_run_id, state)
        if flow_run_id == self.outermost and state.is_final():
            _report(outbox.end(), state, is_told)
        return answer


def _agreed(state: "State[Any]") -> "OrchestrationResult[Any]":
    from prefect.client.schemas.responses import OrchestrationResult, SetStateStatus, StateAcceptDetails

    return OrchestrationResult(state=state, status=SetStateStatus.ACCEPT, details=StateAcceptDetails())


def _keep_end(flow_run_id: UUID, state: "State[Any]") -> None:
    folder = laconic_home() / UNTOLD
    end = {"type": state.type.value, "name": state.name, "message": state.message, "ended_at": state.timestamp.isoformat()}
    with suppress(OSError):  # a full disk must not make a failure of finished work
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / f"{flow_run_id}.json", json.dumps(end))


def _report(untold: list[str], state: "State[Any]", is_told: bool) -> None:
    if is_told and not untold:
        return
    end = [] if is_told else [f"the final state {state.name} (told by the next flow or 'laconic up' on this home), events"]
    logger.warning("the Prefect server did not answer to the end; not shown there: %s", ", ".join([*end, *named(untold)]))
    # Prefect's services deliver what they hold before the process may end, each event for seconds or minutes.
    threading._register_atexit(_abandon_services)  # type: ignore[attr-defined]


def _abandon_services() -> None:
    from prefect._internal.concurrency.threads import get_global_loop

    loop = get_global_loop().loop
    deadline = time.monotonic() + EXIT_SECONDS

    async def cancel() -> int:
        tasks = [task for task in asyncio.all_tasks() if task.get_coro().__qualname__ == "_QueueServiceBase._run"]  # type: ignore[union-attr]
        return sum(task.cancel() for task in tasks)

    # One that says good-bye to the server is cancelled again.
    while loop and time.monotonic() < deadline and asyncio.run_coroutine_threadsafe(cancel(), loop).result(EXIT_SECONDS):
        time.sleep(0.1)


def tell_ends(home: Path) -> list[str]:
    """Tell the server how flow runs ended that could not tell it themselves; a line on each. Raises what Prefect's client does."""
    if not _untold(home):
        return []
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    lines = []
    with get_client(sync_client=True, httpx_settings={"timeout": ANSWER_SECONDS}) as client:
        for file in _untold(home):
            end = json.loads(file.read_text(encoding="utf-8"))
            with suppress(ObjectNotFound):  # of a server that this home had before
                flow_run = client.read_flow_run(UUID(file.stem))
                if flow_run.state is None or not flow_run.state.is_final():
                    client.set_flow_run_state(flow_run.id, _state_of(end), force=True)
                    lines.append(f"flow run {flow_run.name} ended while the server was away: marked as {end['name']}")
            file.unlink(missing_ok=True)
    return lines


def tell_ends_in_time(home: Path) -> list[str]:
    """The same, of one who must not wait: when the server is away there is a next time."""
    if not _untold(home):
        return []
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            return tell_ends(home)
    except Exception as error:
        logger.debug("the ends of flow runs are told later: %s", error)
        return []


def _untold(home: Path) -> list[Path]:
    return sorted((home / UNTOLD).glob("*.json"))


def _state_of(end: dict[str, Any]) -> "State[Any]":
    from prefect.client.schemas.objects import State, StateType

    words = f"Ended at {datetime.fromisoformat(end['ended_at']):%Y-%m-%d %H:%M:%S %Z}, while the server was away."
    return State(type=StateType(end["type"]), name=end["name"], message=" ".join(filter(None, (end["message"], words))))
