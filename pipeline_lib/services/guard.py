"""What stands before a server's application: only its own pages and programs get through, never a page of another web site.

A browser lets any page send requests to any address, so a server on the loopback interface hears every site that its user
visits. Programs (Python clients, curl) send no Origin and pass. Standard library only: the images of the servers hold little else.
"""

import base64
import hmac
import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

HOSTS_VARIABLE = "LACONIC_ALLOWED_HOSTS"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
# The user name that goes with the password of `laconic up --password-file`.
USER = "laconic"


def bracketed(address: str) -> str:
    """An IPv6 address as it stands in a URL; anything else as it is."""
    return f"[{address}]" if ":" in address and not address.startswith("[") else address


def allowed_hosts() -> list[str]:
    """The host names in force: those that LACONIC_ALLOWED_HOSTS lists, by default the loopback interface's."""
    listed = [name.strip().lower() for name in os.environ.get(HOSTS_VARIABLE, "").split(",")]
    return [bracketed(name) for name in listed if name] or list(LOOPBACK)


class Guard:
    """An ASGI application around another one.

    It refuses, before anything is read: a Host that is not in `hosts` (a foreign name that resolves to this machine: DNS
    rebinding); an Origin other than the address that was called (another site's page, WebSockets included); and what a browser
    says comes from another site, but for links to what `is_page` says is a page. With a `password`, everything but `open_paths`
    asks for it (HTTP Basic, user `laconic`). Pages of other sites may not frame what is served.
    """

    def __init__(
        self,
        application: Application,
        hosts: Iterable[str],
        is_page: Callable[[str], bool],
        password: str | None = None,
        open_paths: Iterable[str] = (),
    ) -> None:
        self._application = application
        self._hosts = frozenset(hosts)
        self._is_page = is_page
        self._credentials = f"{USER}:{password}".encode() if password else None
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand on."""
        if scope["type"] not in ("http", "websocket"):
            await self._application(scope, receive, send)
        elif reason := self._foreign(scope):
            await _refuse(scope, send, 403, reason, [])
        elif not self._knows_the_password(scope):
            await _refuse(
                scope, send, 401, "user name or password missing or wrong", [(b"www-authenticate", b'Basic realm="Laconic"')]
            )
        else:
            await self._application(scope, receive, _without_frames(send))

    def _foreign(self, scope: Scope) -> str | None:
        """Why a request is refused; None when it is not."""
        hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
        if len(hosts) != 1 or _name_of(hosts[0]) not in self._hosts:
            return f"the host name is none of this server's; {HOSTS_VARIABLE} lists them"
        if any(origin.partition("://")[2] != hosts[0] for origin in origins):
            return "it comes from a page of another web site"
        sites = _values(scope, b"sec-fetch-site")
        if any(site not in ("same-origin", "none") for site in sites) and not self._is_link(scope):
            return "it comes from a page of another web site"
        return None

    def _is_link(self, scope: Scope) -> bool:
        """A link that was followed, such as one in a report: it shows a page to the user, and nothing to whoever set it."""
        return (
            scope["type"] == "http"
            and scope["method"] == "GET"
            and _values(scope, b"sec-fetch-mode") == ["navigate"]
            and _values(scope, b"sec-fetch-dest") == ["document"]
            and self._is_page(scope["path"])
        )

    def _knows_the_password(self, scope: Scope) -> bool:
        if self._credentials is None or scope["path"] in self._open_paths:
            return True
        try:
            scheme, _, encoded = _values(scope, b"authorization", lower=False)[0].partition(" ")
            given = base64.b64decode(encoded.strip(), validate=True)
        except (IndexError, ValueError):
            return False
        return scheme.lower() == "basic" and hmac.compare_digest(given, self._credentials)


def _values(scope: Scope, name: bytes, lower: bool = True) -> list[str]:
    values = [value.decode("latin-1").strip() for key, value in scope["headers"] if key == name]
    return [value.lower() for value in values] if lower else values


def _name_of(host: str) -> str:
    """A Host header without its port."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


async def _refuse(scope: Scope, send: Send, status: int, reason: str, headers: list[tuple[bytes, bytes]]) -> None:
    if scope["type"] == "websocket":  # before it was accepted: the handshake fails with status 403
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"Refused: {reason}.\n".encode()})


def _without_frames(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message.get("headers", []) if name.lower() != b"x-frame-options"]
            message = {**message, "headers": [*kept, (b"x-frame-options", b"SAMEORIGIN")]}
        await send(message)

    return sending
