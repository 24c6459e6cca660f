"""Python values as JSON and back: plain builtin values only, so that no behaviour crosses with them.

JSON's own null, booleans, strings and numbers stand for themselves, a JSON list for a list; everything else is an object with
one key, its kind: t(uple), s(et), z (frozenset), d(ict, pairs), i (large int, hexadecimal), c(omplex), b(ytes), r(ange),
h (the number of an object that stays on the program's side). A value of a subclass crosses as its builtin base, read with the
base's own methods: what it overrides does not come along.
"""

import base64
from collections.abc import Callable, Iterable
from typing import Any

MAX_DEPTH = 150
MAX_NODES = 1_000_000
_LARGEST_JSON_INTEGER = 1 << 62


class Unplain(Exception):
    """A value that cannot cross: of another type, too deep or too large."""


class TooLarge(Unplain):
    """A value of too many parts."""


class Encoder:
    """Turns values into JSON-ready ones; `keep` gives a number to an object that cannot cross (None: refuse it)."""

    def __init__(self, keep: Callable[[Any], int] | None = None) -> None:
        self._keep = keep
        self._nodes = 0

    def encode(self, value: Any, depth: int = 0) -> Any:
        """The JSON-ready form. Raises Unplain."""
        self._nodes += 1
        if depth > MAX_DEPTH:
            raise Unplain(f"a value nested more than {MAX_DEPTH} deep")
        if self._nodes > MAX_NODES:
            raise TooLarge(f"a value of more than {MAX_NODES} parts")
        kind = type(value)
        if value is None or kind is bool:
            return value
        for base, write in _WRITERS:
            # type() instead of isinstance: a class can lie about itself in __class__.
            if base in kind.__mro__:
                return write(self, value, depth + 1)
        if self._keep is None:
            raise Unplain(f"a value of type {kind.__name__}")
        return {"h": self._keep(value)}

    def sequence(self, values: Iterable[Any], depth: int) -> list[Any]:
        """The forms of the members."""
        return [self.encode(value, depth) for value in values]


def _write_integer(encoder: Encoder, value: Any, depth: int) -> Any:
    plain = int.__int__(value)
    return plain if abs(plain) < _LARGEST_JSON_INTEGER else {"i": hex(plain)}


def _write_dict(encoder: Encoder, value: Any, depth: int) -> Any:
    return {"d": [encoder.sequence(pair, depth) for pair in list(dict.items(value))]}


def _write_text(encoder: Encoder, value: Any, depth: int) -> Any:
    # join() copies a subclass's characters without asking it.
    return str.__str__(value) if type(value) is str else "".join(str.__getitem__(value, i) for i in range(str.__len__(value)))


def _write_range(encoder: Encoder, value: Any, depth: int) -> Any:
    return {"r": [encoder.encode(part, depth) for part in (value.start, value.stop, value.step)]}


_WRITERS: list[tuple[type, Callable[[Encoder, Any, int], Any]]] = [
    (int, _write_integer),
    (float, lambda encoder, value, depth: float.__float__(value)),
    (str, _write_text),
    (list, lambda encoder, value, depth: encoder.sequence(list(list.__iter__(value)), depth)),
    (tuple, lambda encoder, value, depth: {"t": encoder.sequence(list(tuple.__iter__(value)), depth)}),
    (dict, _write_dict),
    (set, lambda encoder, value, depth: {"s": encoder.sequence(list(set.__iter__(value)), depth)}),
    (frozenset, lambda encoder, value, depth: {"z": encoder.sequence(list(frozenset.__iter__(value)), depth)}),
    (complex, lambda encoder, value, depth: {"c": [complex.__complex__(value).real, complex.__complex__(value).imag]}),
    (bytes, lambda encoder, value, depth: {"b": base64.b64encode(value).decode()}),
    (range, _write_range),
]


def decode(form: Any, resolve: Callable[[int], Any] | None = None) -> Any:
    """The value of a JSON form; `resolve` gives the object for a kept number (None: refuse it).

    Raises Unplain for anything malformed, and RecursionError never: json.loads has bounded the depth already.
    """
    try:
        return _decode(form, resolve, 0)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise Unplain(f"a malformed value: {type(error).__name__}") from error


def _decode(form: Any, resolve: Callable[[int], Any] | None, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise Unplain(f"a value nested more than {MAX_DEPTH} deep")
    if form is None or isinstance(form, bool | int | float | str):
        return form
    if isinstance(form, list):
        return [_decode(part, resolve, depth + 1) for part in form]
    (kind, content), *rest = form.items()
    if rest:
        raise Unplain("a malformed value")
    if kind == "h":
        if resolve is None or type(content) is not int:
            raise Unplain("an object that stays on the program's side")
        return resolve(content)
    if kind == "i":
        return int(content, 16)
    if kind == "b":
        return base64.b64decode(content, validate=True)
    parts = [_decode(part, resolve, depth + 1) for part in content]
    if kind == "d":
        return {key: value for key, value in parts}  # noqa: C416 (each pair must have two parts)
    if kind == "c":
        return complex(float(parts[0]), float(parts[1]))
    if kind == "r":
        return range(*parts)
    builders: dict[str, Callable[[list[Any]], Any]] = {"t": tuple, "s": set, "z": frozenset}
    return builders[kind](parts)
