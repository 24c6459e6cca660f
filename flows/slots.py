"""The `gpu` limit: how many flows may use the accelerator at once, a global concurrency limit of the Prefect server."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from flows.server.temporary import is_temporary

logger = logging.getLogger(__name__)

LIMIT = "gpu"
# A flow that was killed gives its slot back when the lease runs out.
LEASE_SECONDS = 60.0

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
        from prefect.concurrency.sync import concurrency

        _say_if_taken()
        with concurrency(LIMIT, lease_duration=LEASE_SECONDS, raise_on_lease_renewal_failure=False):
            logger.info("holding a slot of the limit %r", LIMIT)
            yield
    finally:
        with _holder:
            _depth -= 1


def _say_if_taken() -> None:
    """A wait that nobody knows of looks like something stuck."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client, suppress(ObjectNotFound):
        limit = client.read_global_concurrency_limit_by_name(LIMIT)
        if limit.active_slots >= limit.limit:
            logger.warning("waiting for a slot of the limit %r: all %d are taken", LIMIT, limit.limit)
