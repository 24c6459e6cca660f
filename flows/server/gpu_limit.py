"""The `gpu` limit: how many flows may use the accelerator at once, a global concurrency limit of the Prefect server."""

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING

from flows.server.temporary import is_temporary
from tasks.outbox import AGAIN_SECONDS, PATIENCE_SECONDS, is_outage, outbox

if TYPE_CHECKING:
    from prefect.client.schemas.responses import GlobalConcurrencyLimitResponse

logger = logging.getLogger(__name__)

LIMIT = "gpu"
# A flow that was killed gives its slot back when the lease runs out.
LEASE_SECONDS = 60.0
RETURN_SECONDS = 3.0

_holder = threading.Lock()
_depth = 0


@contextmanager
def accelerator_slot() -> Iterator[None]:
    """Hold a slot of the `gpu` limit while the block runs, waiting for it if need be; flows inside share their parent's.

    Without a server that lasts (a plain `laconic run`) there is nothing to wait for.
    """
    global _depth
    from prefect.settings import get_current_settings

    with _holder:
        nested, _depth = _depth > 0, _depth + 1
    try:
        if nested or is_temporary() or not get_current_settings().api.url:
            yield
            return
        with _held_slot():
            yield
    finally:
        with _holder:
            _depth -= 1


@contextmanager
def _held_slot() -> Iterator[None]:
    is_over = threading.Event()
    holder: threading.Thread | None = None
    try:
        holder = _hold(is_over)
        yield
    finally:
        is_over.set()
        if holder and not outbox.is_away:
            holder.join(RETURN_SECONDS)


def _hold(is_over: threading.Event) -> threading.Thread | None:
    """The thread that holds the slot; none where the server died and no other flow was known to hold all slots."""
    is_taken = False
    holder: threading.Thread | None = None
    while True:
        try:
            is_taken = _say_if_taken()
            if holder is None or not holder.is_alive():
                held: Future[None] = Future()
                target = partial(copy_context().run, partial(_hold_until, is_over, held))
                # A server that died answers neither the renewal nor the return of a slot in time.
                holder = threading.Thread(target=target, daemon=True, name="gpu-slot")
                holder.start()
            while not wait([held], PATIENCE_SECONDS).done:
                _read_limit()
                is_taken = True
            held.result()
            logger.info("holding a slot of the limit %r", LIMIT)
            return holder
        except Exception as error:
            if not is_outage(error.__cause__ or error):
                raise
        if not is_taken:
            logger.warning("the Prefect server does not answer: going on without a slot of the limit %r", LIMIT)
            return None
        time.sleep(AGAIN_SECONDS)


def _hold_until(is_over: threading.Event, held: "Future[None]") -> None:
    from prefect.concurrency.sync import concurrency

    try:
        with concurrency(LIMIT, lease_duration=LEASE_SECONDS, raise_on_lease_renewal_failure=False):
            held.set_result(None)
            is_over.wait()
    except Exception as error:
        if held.done():
            logger.info("the slot of the limit %r comes back when its lease runs out: %s", LIMIT, error)
        else:
            held.set_exception(error)


def _say_if_taken() -> bool:
    """A wait that nobody knows of looks like something stuck."""
    limit = _read_limit()
    if limit is None or limit.active_slots < limit.limit:
        return False
    logger.warning("waiting for a slot of the limit %r: all %d are taken", LIMIT, limit.limit)
    return True


def _read_limit() -> "GlobalConcurrencyLimitResponse | None":
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    client = get_client(sync_client=True)
    with suppress(ObjectNotFound):
        limit: GlobalConcurrencyLimitResponse = outbox.ask(
            "the limit", lambda: client.read_global_concurrency_limit_by_name(LIMIT), PATIENCE_SECONDS
        )
        return limit
    return None
