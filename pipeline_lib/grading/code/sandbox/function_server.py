"""The untrusted side of the narrow bridge: calls the program's functions on request and answers with plain values.

Objects that cannot cross stay here and get a number. All of this runs in the program's own process and can be overridden by it:
the other side treats every answer as a claim to be compared, never as a verdict.
"""

import itertools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from .frames import ChannelClosed, encode_frame, read_frame, write_frame
from .plain_values import Encoder, TooLarge, decode

_MAX_TEXT = 300
_MAX_ITERATED = 1_000_000


def describe(error: BaseException) -> dict[str, str]:
    """The exception's type, text and the program's line that it came from."""
    try:
        text = str(error)[:_MAX_TEXT]
    except BaseException:
        text = ""
    line, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<program>":
            line = str(trace.tb_lineno)
        trace = trace.tb_next
    return {"type": type(error).__name__, "text": text, "line": line}


class _Objects:
    """The objects that were given a number."""

    def __init__(self) -> None:
        self._objects: list[Any] = []

    def keep(self, value: Any) -> int:
        self._objects.append(value)
        return len(self._objects) - 1

    def get(self, number: int) -> Any:
        return self._objects[number]


def serve(requests_fd: int, replies_fd: int, module: ModuleType, max_frame_bytes: int) -> None:
    """Answer requests until the other side closes."""
    objects = _Objects()
    while True:
        try:
            request = read_frame(requests_fd, 1 << 30)
        except ChannelClosed:
            return
        try:
            reply = _OPERATIONS[request["op"]](request, module, objects)
            if len(encode_frame(reply)) > max_frame_bytes:
                reply = {"too_large": True}
        except TooLarge:
            reply = {"too_large": True}
        except BaseException as error:
            reply = {"raised": describe(error)}
        write_frame(replies_fd, reply)


def _find(request: dict[str, Any], module: ModuleType, objects: _Objects) -> dict[str, Any]:
    """The module's objects of these names, None for those that are missing; methods of a class Solution count if asked."""
    found: list[Any] = []
    solution_class = getattr(module, "Solution", None) if request["solution"] else None
    solution = solution_class() if solution_class is not None else None
    for name in request["names"]:
        holder = solution if hasattr(solution, name) else module
        found.append({"h": objects.keep(getattr(holder, name))} if hasattr(holder, name) else None)
    return {"value": found}


def _call(request: dict[str, Any], module: ModuleType, objects: _Objects) -> dict[str, Any]:
    """The result, and those arguments of the first level that the call changed in place."""
    arguments = decode(request["args"], objects.get)
    keywords = decode(request["kwargs"], objects.get)
    encoded_before = [Encoder(objects.keep).encode(value) for value in arguments if isinstance(value, list | dict | set)]
    result = objects.get(request["target"])(*arguments, **keywords)
    reply: dict[str, Any] = {"value": Encoder(objects.keep).encode(result)}
    changed = []
    mutable = [(place, value) for place, value in enumerate(arguments) if isinstance(value, list | dict | set)]
    for (place, value), before in zip(mutable, encoded_before, strict=True):
        after = Encoder(objects.keep).encode(value)
        if after != before:
            changed.append([place, after])
    if changed:
        reply["changed"] = changed
    return reply


def _get(request: dict[str, Any], module: ModuleType, objects: _Objects) -> dict[str, Any]:
    value = getattr(objects.get(request["target"]), request["name"])
    return {"value": Encoder(objects.keep).encode(value)}


def _set(request: dict[str, Any], module: ModuleType, objects: _Objects) -> dict[str, Any]:
    setattr(objects.get(request["target"]), request["name"], decode(request["value"], objects.get))
    return {"value": None}


def _iterate(request: dict[str, Any], module: ModuleType, objects: _Objects) -> dict[str, Any]:
    members = list(itertools.islice(objects.get(request["target"]), _MAX_ITERATED + 1))
    if len(members) > _MAX_ITERATED:
        raise TooLarge("an iterator without end")
    return {"value": Encoder(objects.keep).encode(members)}


_OPERATIONS: dict[str, Callable[[dict[str, Any], ModuleType, _Objects], dict[str, Any]]] = {
    "find": _find,
    "call": _call,
    "get": _get,
    "set": _set,
    "iterate": _iterate,
}
