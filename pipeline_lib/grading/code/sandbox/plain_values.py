"""Python values as JSON and back: plain builtin values only, so that no behaviour crosses with them.

JSON's own null, booleans, strings and numbers stand for themselves, a JSON list for a list; everything else is an object with
one key, its kind: t(uple), s(et), z (frozenset), d(ict, pairs), i (large int, hexadecimal), c(omplex), b(ytes), r(ange),
h (the number of an object that stays on the program's side). A value of a subclass crosses as its builtin base, read with the
base's own methods: what it overrides does not come along.

What comes back is chosen by the program: reading it takes time linear in its length, or it is refused.
"""

import base64
import operator
import re
from collections.abc import Callable, Iterable
from typing import Any

MAX_DEPTH = 150
MAX_NODES = 1_000_000
_LARGEST_JSON_INTEGER = 1 << 62
# Honest sets have a few members of one hash (-1 and -2, tuples of them); building one of n such members takes n² comparisons.
_MAX_SAME_HASH = 64
# Integers up to the 50,000 decimal digits that LiveCodeBench's runner allows: in hexadecimal, with sign and 0x, these.
_MAX_JSON_HEXADECIMAL = 41_528
_HEXADECIMAL = re.compile(r"-?0x[0-9a-f]+")


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

    Raises Unplain for anything malformed and for sets and dicts of chosen hashes, and RecursionError never: the depth is bounded.
    Members with hashes that differ can still be chosen so that a set is slow: decode where the process can be killed, and
    `decode_json` elsewhere.
    """
    try:
        return _decode(form, resolve, 0)
    except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise Unplain(f"a malformed value: {type(error).__name__}") from error


def _decode(form: Any, resolve: Callable[[int], Any] | None, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise Unplain(f"a value nested more than {MAX_DEPTH} deep")
    if form is None or isinstance(form, bool | int | float | str):
        return form
    if isinstance(form, list):
        return [_decode(part, resolve, depth + 1) for part in form]
    kind, content = _kind_and_content(form)
    if kind == "h":
        if resolve is None or type(content) is not int:
            raise Unplain("an object that stays on the program's side")
        return resolve(content)
    if kind == "i":
        return _read_integer(content)
    if kind == "b":
        return base64.b64decode(content, validate=True)
    parts = [_decode(part, resolve, depth + 1) for part in _list(content)]
    if kind == "d":
        pairs = [_list(part) for part in parts]
        _refuse_chosen_hashes([key for key, _ in pairs])
        return dict(pairs)
    if kind in ("s", "z"):
        _refuse_chosen_hashes(parts)
    builders: dict[str, Callable[[list[Any]], Any]] = {
        "t": tuple,
        "s": set,
        "z": frozenset,
        "c": _complex,
        "r": lambda bounds: range(*bounds),
    }
    return builders[kind](parts)


def decode_json(form: Any) -> Any:
    """The value of a JSON form that may equal one which JSON can say: a tuple stands for a list, 1+0j for 1.

    Raises Unplain for anything malformed and for what no JSON value equals: sets, bytes, ranges, dicts with keys that are no
    texts, integers of more than 50,000 digits. Nothing is hashed but texts.
    """
    try:
        return _decode_json(form, 0)
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise Unplain(f"a malformed value: {type(error).__name__}") from error


def _decode_json(form: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise Unplain(f"a value nested more than {MAX_DEPTH} deep")
    if form is None or isinstance(form, bool | int | float | str):
        return form
    if isinstance(form, list):
        return [_decode_json(part, depth + 1) for part in form]
    kind, content = _kind_and_content(form)
    if kind == "t":
        return tuple(_decode_json(part, depth + 1) for part in _list(content))
    if kind == "d":
        pairs = [_list(pair) for pair in _list(content)]
        if not all(type(key) is str for key, _ in pairs):
            raise Unplain("a dict with keys that are no texts")
        return {key: _decode_json(value, depth + 2) for key, value in pairs}
    if kind == "i":
        if len(content) > _MAX_JSON_HEXADECIMAL:
            raise Unplain("a larger integer than JSON tests hold")
        return _read_integer(content)
    if kind == "c":
        value = _complex(_list(content))
        if value.imag == 0:
            return value.real
    raise Unplain(_UNSAYABLE[kind])


_UNSAYABLE = {
    "s": "a set",
    "z": "a frozenset",
    "b": "bytes",
    "r": "a range",
    "c": "a complex number",
    "h": "an object that stays on the program's side",
}


def _kind_and_content(form: dict[str, Any]) -> tuple[str, Any]:
    if len(form) != 1:
        raise Unplain("a malformed value")
    return next(iter(form.items()))


def _list(content: Any) -> list[Any]:
    if type(content) is not list:
        raise Unplain("a malformed value")
    return content


def _read_integer(digits: Any) -> int:
    if not _HEXADECIMAL.fullmatch(digits):
        raise Unplain("a malformed value")
    return int(digits, 16)


def _complex(parts: list[Any]) -> complex:
    real, imaginary = parts
    return complex(float(real), float(imaginary))


def _refuse_chosen_hashes(members: list[Any]) -> None:
    # Sorted: counting them in a dict would meet the same collisions.
    hashes = sorted(map(hash, members)) if len(members) > _MAX_SAME_HASH else []
    if any(map(operator.eq, hashes, hashes[_MAX_SAME_HASH:])):
        raise Unplain(f"more than {_MAX_SAME_HASH} members of one hash")
