"""The `gpu` limit: how many flows may use the accelerator at once, a global concurrency limit of the Prefect server."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial

from flows.server.temporary import is_temporary
from tasks.outbox import PATIENCE_SECONDS, Unreachable, is_outage, outbox

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
    """Hold the slot in a thread of its own: a server that died answers neither its renewal nor its return in time."""
    waited: Future[None] = Future()
    is_over = threading.Event()

    def hold() -> None:
        from prefect.concurrency.sync import concurrency

        try:
            with concurrency(LIMIT, lease_duration=LEASE_SECONDS, raise_on_lease_renewal_failure=False):
                waited.set_result(None)
                is_over.wait()
        except Exception as error:
            if not waited.done():
                waited.set_exception(error)
            else:
                logger.info("the slot of the limit %r comes back when its lease runs out: %s", LIMIT, error)

    holder = threading.Thread(target=partial(copy_context().run, hold), daemon=True, name="gpu-slot")
    try:
        _say_if_taken()
        holder.start()
        waited.result()
        logger.info("holding a slot of the limit %r", LIMIT)
    except Exception as error:
        if not is_outage(error.__cause__ or error) and not isinstance(error, Unreachable):
            raise
        logger.warning("the Prefect server does not answer: going on without a slot of the limit %r", LIMIT)
    try:
        yield
    finally:
        is_over.set()
        if holder.is_alive() and not outbox.is_away:
            holder.join(RETURN_SECONDS)


def _say_if_taken() -> None:
    """A wait that nobody knows of looks like something stuck."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with suppress(ObjectNotFound):
        client = get_client(sync_client=True)
        limit = outbox.ask("the limit", lambda: client.read_global_concurrency_limit_by_name(LIMIT), PATIENCE_SECONDS)
        if limit.active_slots >= limit.limit:
            logger.warning("waiting for a slot of the limit %r: all %d are taken", LIMIT, limit.limit)
