"""Values cross the bridge between tests and program as what they are, and nothing else does."""

import json
import math
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.grading.code.sandbox.frames import FrameTooLarge, parse_payload
from pipeline_lib.grading.code.sandbox.plain_values import MAX_DEPTH, Encoder, TooLarge, Unplain, decode, decode_json

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**300, max_value=10**301),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(st.characters()),
    st.binary(),
    st.builds(range, st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 9)),
)
HASHABLE = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3), max_leaves=6
)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(HASHABLE, inner, max_size=4) | st.sets(HASHABLE, max_size=4),
    max_leaves=20,
)


def typed(value: Any) -> Any:
    """The value with the types of all its parts, so that 1, 1.0 and True differ."""
    if isinstance(value, dict):
        return dict, {typed(key): typed(part) for key, part in value.items()}
    if isinstance(value, set | frozenset):
        return type(value), frozenset(typed(part) for part in value)
    if isinstance(value, list | tuple):
        return type(value), tuple(typed(part) for part in value)
    return type(value), value


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_a_plain_value_comes_back_as_itself(value: Any) -> None:
    back = decode(json.loads(json.dumps(Encoder().encode(value))))
    assert back == value and typed(back) == typed(value)


def test_numbers_that_are_not_equal_to_themselves() -> None:
    back = decode(json.loads(json.dumps(Encoder().encode([math.nan, math.inf, -0.0, complex(math.nan, 1)]))))
    assert math.isnan(back[0]) and back[1] == math.inf and math.copysign(1, back[2]) == -1 and math.isnan(back[3].real)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("tszdicbrhx") | st.text(), inner, max_size=2),
    max_leaves=15,
)


@given(JSON)
@settings(max_examples=300, deadline=None)
def test_whatever_a_program_sends_is_a_plain_value_or_refused(form: Any) -> None:
    try:
        value = decode(form)
    except Unplain:
        return
    assert typed(decode(json.loads(json.dumps(Encoder().encode(value))))) == typed(value) or "nan" in repr(value)


@given(JSON)
@settings(max_examples=300, deadline=None)
def test_what_json_tests_are_compared_with_is_json_with_tuples_or_refused(form: Any) -> None:
    def is_plain(value: Any) -> bool:
        if isinstance(value, list | tuple):
            return all(map(is_plain, value))
        if isinstance(value, dict):
            return all(type(key) is str for key in value) and all(map(is_plain, value.values()))
        return value is None or type(value) in (bool, int, float, str)

    try:
        value = decode_json(form)
    except Unplain:
        return
    assert is_plain(value)
    whole = decode(form)
    assert value == whole or "nan" in repr(whole)


# A form of n parts that is dear to read in one way or another: members of one hash, of few hashes, deep, long, many.
PERIOD = (1 << 61) - 1  # the hash of an int is its remainder
NUMBERS = {
    "one hash": lambda k: {"i": hex(k * PERIOD)},
    "hashes of -1 and -2": lambda k: -1 - k % 2,
    "tuples of one hash": lambda k: {"t": [{"i": hex(k * PERIOD)}, {"i": hex(3 * k * PERIOD)}]},
    "same low bits": lambda k: k << 40,
    "few hashes": lambda k: {"i": hex(k * PERIOD + k % 7)},
    "ranges": lambda k: {"r": [0, {"i": hex(k * PERIOD)}, 1]},
    "complex": lambda k: {"c": [float(k % 99), float(k)]},
    "nested": lambda k: {"t": [{"t": [{"z": [k, {"i": hex(k * PERIOD)}]}]}]},
}
WRAPPERS = {
    "list": lambda forms: forms,
    "set": lambda forms: {"s": forms},
    "frozenset in a set": lambda forms: {"s": [{"z": forms}]},
    "dict": lambda forms: {"d": [[form, 0] for form in forms]},
    "dict of texts": lambda forms: {"d": [["same", form] for form in forms]},
    "large integers": lambda forms: [{"i": "0x" + "f" * len(json.dumps(forms))}],
    "digits": lambda forms: int("9" * min(4000, 10 * len(forms))),
    "a set of long texts": lambda forms: {"s": ["x" * 100 + str(place) for place in range(len(forms))]},
}


@given(st.sampled_from(sorted(NUMBERS)), st.sampled_from(sorted(WRAPPERS)), st.integers(1, 40_000))
@settings(max_examples=60, deadline=None)
def test_reading_a_frame_costs_time_linear_in_its_length(number: str, wrapper: str, num_parts: int) -> None:
    payload = json.dumps(WRAPPERS[wrapper]([NUMBERS[number](k) for k in range(num_parts)])).encode()
    # About 0.1 microseconds a byte on an idle machine; members of one hash would cost a hundred times as much.
    allowed_seconds = 0.1 + 2e-6 * len(payload)
    for read in (decode, decode_json):
        # The quickest of some: a try may pay for the rubbish of other tests' objects, or wait for a core's caches.
        assert any(seconds_of(read, payload) < allowed_seconds for _ in range(5)), (number, wrapper, num_parts, read)


def seconds_of(read: Any, payload: bytes) -> float:
    """CPU seconds of this thread."""
    started = time.thread_time()
    with suppress(Unplain, FrameTooLarge, ValueError, RecursionError):
        read(parse_payload(payload))
    return time.thread_time() - started


def test_what_a_subclass_overrides_does_not_cross() -> None:
    class Text(str):
        def __str__(self) -> str:
            return "forged"

        __getitem__ = __iter__ = __len__ = __str__  # type: ignore[assignment]

    class Items(list):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            return iter(["forged"])

    class Mapping(dict):  # type: ignore[type-arg]
        def items(self) -> Any:
            return [("forged", 1)]

    class Number(int):
        def __int__(self) -> int:
            return 99

        __index__ = __abs__ = __int__

    value = decode(json.loads(json.dumps(Encoder().encode([Text("ab"), Items([1]), Mapping(a=1), Number(5)]))))
    assert value == ["ab", [1], {"a": 1}, 5] and [type(part) for part in value] == [str, list, dict, int]


def test_limits() -> None:
    deep: list[Any] = []
    for _ in range(MAX_DEPTH + 2):
        deep = [deep]
    with pytest.raises(Unplain, match="deep"):
        Encoder().encode(deep)
    with pytest.raises(Unplain, match="deep"):
        decode(deep)
    wide: list[Any] = []
    for _ in range(40):
        wide = [wide, wide]
    with pytest.raises(TooLarge):
        Encoder().encode(wide)
    with pytest.raises(Unplain, match="type object"):
        Encoder().encode(object())
