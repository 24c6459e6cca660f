"""Sets of real numbers with rational ends: intervals, single numbers and their unions and intersections, in one form."""

import itertools
from fractions import Fraction

from pipeline_lib.grading.maths.answer_types import Answer, Expression, Items, Number, Readings, Union
from pipeline_lib.grading.maths.trees import BeyondComputing, Tree, rational_value

MINUS_INFINITY: Tree = ("*", ("n", "-1"), ("c", "oo"))
INFINITY: Tree = ("c", "oo")
LOW: Readings = (Expression(MINUS_INFINITY),)
HIGH: Readings = (Expression(INFINITY),)

# An end: the number (infinite as a float), and 0 where it belongs to the set; next to it 1 above a lower end and -1 below a higher one.
End = tuple[Fraction | float, int]
Span = tuple[End, End]


def interval(ends: str, low: Readings, high: Readings) -> Items:
    return Items("tuple" if ends == "()" else "interval", (low, high), ends)


REAL_LINE = interval("()", LOW, HIGH)


def is_interval(answer: Answer) -> bool:
    return isinstance(answer, Items) and len(answer.items) == 2 and (answer.kind == "interval" or answer.ends == "()")


def line_without(points: tuple[Readings, ...]) -> Union:
    edges = [LOW, *points, HIGH]
    return Union(tuple((interval("()", low, high),) for low, high in itertools.pairwise(edges)))


def united(parts: tuple[Readings, ...]) -> Items | Union | None:
    """The union of intervals and sets of numbers, parts that touch or overlap as one; None where an end is not rational."""
    spans = [spans_of(part[0]) if part else None for part in parts]
    return None if None in spans else _answer([span for found in spans for span in found or []])


def intersection(parts: list[Readings]) -> Items | Union | None:
    """What intervals and sets of numbers have in common; None where an end is not rational."""
    common: list[Span] | None = [((float("-inf"), 1), (float("inf"), -1))]
    for part in parts:
        spans = spans_of(part[0])
        if spans is None or common is None:
            return None
        pairs = [(max(one[0], other[0]), min(one[1], other[1])) for one in common for other in spans]
        common = [(low, high) for low, high in pairs if low <= high]
    return _answer(common or [])


def spans_of(answer: Answer) -> list[Span] | None:
    """The spans of a set of real numbers; None for anything else."""
    if isinstance(answer, Union):
        spans = [spans_of(part[0]) if part else None for part in answer.parts]
        return None if None in spans else [span for found in spans for span in found or []]
    if not isinstance(answer, Items) or not (is_interval(answer) or answer.kind == "set"):
        return None
    numbers = [_number(item) for item in answer.items]
    if any(number is None for number in numbers):
        return None
    known = [number for number in numbers if number is not None]
    if answer.kind == "set":
        return [((number, 0), (number, 0)) for number in known]
    span = ((known[0], int(answer.ends[0] == "(")), (known[1], -int(answer.ends[1] == ")")))
    return [span] if span[0] < span[1] or span[0] == span[1] else None


def _number(readings: Readings) -> Fraction | float | None:
    answer = readings[0] if readings else None
    if not isinstance(answer, Number | Expression):
        return None
    if answer.tree in (INFINITY, MINUS_INFINITY):
        return float("inf") if answer.tree == INFINITY else float("-inf")
    try:
        return rational_value(answer.tree)
    except (BeyondComputing, ZeroDivisionError):
        return None


def _answer(spans: list[Span]) -> Items | Union:
    merged: list[Span] = []
    for low, high in sorted(spans):
        # [0,1) and [1,2] touch in 1, (0,1) and (1,2) do not.
        if merged and (low <= merged[-1][1] or (low[0] == merged[-1][1][0] and low[1] - merged[-1][1][1] < 2)):
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    points = [low for low, high in merged if low == high]
    parts = [
        interval("[("[low[1]] + "])"[-high[1]], _readings(low[0]), _readings(high[0])) for low, high in merged if low != high
    ]
    if points or not parts:
        parts.append(Items("set", tuple(_readings(number) for number, _ in points)))
    return parts[0] if len(parts) == 1 else Union(tuple((part,) for part in parts))


def _readings(number: Fraction | float) -> Readings:
    if isinstance(number, float):
        return HIGH if number > 0 else LOW
    return (Number(number, ("n", str(number))),)
