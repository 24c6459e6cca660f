"""What is told to Prefect: by a thread of its own, so that a server that died, hangs or fails costs the work no time."""

import logging
import threading
import time
from collections.abc import Callable, Hashable
from contextvars import copy_context
from functools import partial
from typing import Any, Final

logger = logging.getLogger(__name__)

# A server that has not answered for so long is called away.
PATIENCE_SECONDS: Final = 5.0
AGAIN_SECONDS: Final = 10.0  # between tries while it is away
HURRIED_SECONDS: Final = 0.5  # the same while somebody waits
NUM_NAMED: Final = 8
# They report each event and log line that gets lost, and our own lines say it once.
CHATTY = ("prefect._internal.concurrency", "prefect.events.clients", "prefect.concurrency", "EventsWorker", "APILogWorker")


class Unreachable(OSError):
    """Prefect did not answer in the time that it had."""


class _Message:
    """A call to Prefect, in the context of whoever wants it made."""

    def __init__(self, what: str, call: Callable[[], Any], is_asked: bool = False) -> None:
        self.what, self.is_asked = what, is_asked
        self.call: Callable[[], Any] = partial(copy_context().run, partial(_with_one_retry, call))
        self.is_done = False
        self.result: Any = None
        self.error: BaseException | None = None


class Outbox:
    """Calls to Prefect, one after the other; while it does not answer they are kept, each in its newest form, and tried again."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._kept: dict[Hashable, _Message] = {}
        self._under_way: _Message | None = None
        self._started = self._next_try = 0.0
        self._away_since: float | None = None
        self._hurried_until = 0.0
        self._thread: threading.Thread | None = None

    @property
    def is_away(self) -> bool:
        """Whether Prefect does not answer at present; says so once."""
        with self._changed:
            if self._under_way and time.monotonic() > self._started + PATIENCE_SECONDS:
                self._note_outage("it has not answered a call yet")
            return self._away_since is not None

    def put(self, what: str, call: Callable[[], object], key: Hashable = None) -> None:
        """Have something told soon; it takes the place of what is kept under the same key."""
        self._add(key or object(), _Message(what, call))
        _ = self.is_away

    def ask(self, what: str, call: Callable[[], Any], seconds: float) -> Any:
        """The answer to a call, made after all that was put before. Raises Unreachable, and what the call raises."""
        message, key = _Message(what, call, is_asked=True), object()
        with self._changed:
            self._add(key, message)
            if not self._wait(lambda: message.is_done, seconds):
                self._kept.pop(key, None)
                raise Unreachable(what)
        if message.error:
            raise message.error
        return message.result

    def end(self) -> list[str]:
        """Forget what is kept; returns what was not told, each thing once."""
        with self._changed:
            left = [self._under_way] if self._under_way else []
            untold = list(dict.fromkeys(message.what for message in [*left, *self._kept.values()] if not message.is_asked))
            self._kept.clear()
            self._under_way = None  # its end is nobody's matter: it was named as untold
            return untold

    def _add(self, key: Hashable, message: _Message) -> None:
        with self._changed:
            self._kept[key] = message
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._tell_all, daemon=True, name="prefect-outbox")
                self._thread.start()
            self._changed.notify_all()

    def _wait(self, is_done: Callable[[], bool], seconds: float) -> bool:
        self._hurried_until = time.monotonic() + seconds
        self._next_try = min(self._next_try, time.monotonic())
        self._changed.notify_all()
        return self._changed.wait_for(is_done, timeout=seconds)

    def _tell_all(self) -> None:
        while True:
            self._tell(*self._take())  # an idle thread holds nothing of what its last call held

    def _take(self) -> tuple[Hashable, _Message]:
        with self._changed:
            while not self._kept or time.monotonic() < self._next_try:
                self._changed.wait(max(0.0, self._next_try - time.monotonic()) if self._kept else None)
            key = next(iter(self._kept))
            self._under_way, self._started = self._kept.pop(key), time.monotonic()
            return key, self._under_way

    def _tell(self, key: Hashable, message: _Message) -> None:
        try:
            message.result, message.error = message.call(), None
        except BaseException as error:
            message.error = error
        with self._changed:
            is_forgotten, self._under_way = self._under_way is not message, None
            if is_forgotten:
                message.is_done = True
            elif message.error is not None and is_outage(message.error):
                self._kept.setdefault(key, message)  # behind the others: what this one asks for may be what fails
                self._note_outage(_in_words(message.error))
                hurried = time.monotonic() < self._hurried_until
                self._next_try = time.monotonic() + (HURRIED_SECONDS if hurried else AGAIN_SECONDS)
            else:
                message.is_done = True
                self._note_answer()
                if message.error is not None and not message.is_asked:
                    logger.warning("%s is not shown in Prefect: %s", message.what, _in_words(message.error))
            self._changed.notify_all()

    def _note_answer(self) -> None:
        if self._away_since is None:
            return
        seconds, self._away_since = time.monotonic() - self._away_since, None
        for name in CHATTY:
            logging.getLogger(name).disabled = False
        logger.warning("the Prefect server answers again after %.0f s; events in between may be missing there", seconds)

    def _note_outage(self, reason: str) -> None:
        if self._away_since is not None:
            return
        self._away_since = time.monotonic()
        for name in CHATTY:
            logging.getLogger(name).disabled = True
        logger.warning("the Prefect server does not answer (%s): the work goes on, and is shown when it answers again", reason)


def is_outage(error: BaseException) -> bool:
    """Whether an error of Prefect's client means that the server is away, and not that it refused what was asked."""
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code in (408, 429)
    return isinstance(error, httpx.TransportError | OSError)


def named(things: list[str]) -> list[str]:
    """The first of many things, and how many more there are."""
    return things if len(things) <= NUM_NAMED else [*things[:NUM_NAMED], f"{len(things) - NUM_NAMED} more"]


def _in_words(error: BaseException) -> str:
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return f"HTTP status {error.response.status_code}"
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def _with_one_retry(call: Callable[[], Any]) -> Any:
    """Prefect's client would try for minutes, and what is kept is tried again anyhow; one retry renews a CSRF token."""
    from prefect.context import SettingsContext, get_settings_context

    context = get_settings_context()
    # Prefect's `temporary_settings` reads the environment anew, which MLflow's calls change in other threads.
    client = context.settings.client.model_copy(update={"max_retries": 1})
    with SettingsContext(profile=context.profile, settings=context.settings.model_copy(update={"client": client})):
        return call()


outbox = Outbox()
