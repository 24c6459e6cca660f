"""Correct responses to tiny problems in five styles, and the reading of responses line by line.

The styles trade length for reliability: `count` steps one by one, `verbose` counts, checks itself and counts again, `table`
recalls one sum a line, `fold` two sums a line, `skip` answers at once.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline_lib.tiny_world.problems import FAMILY_BY_SIGN, Operation, Problem, parse_problem, step, value_after

STYLES: tuple[str, ...] = ("count", "verbose", "table", "fold", "skip")
THINK_START, THINK_END = "<think>", "</think>"
OPENING, RECOUNT, CONCLUSION = "okay the problem is", "wait let me double check", "so the answer is"
MAX_RECOUNTS = 2
MAX_CHECK_PROBABILITY = 0.4

_LEFT_SIDE = re.compile(r"(\d)((?:[a-z][-+<>]\d)+)")
_BOX = re.compile(r"\\boxed\{(\d)\}\s*$")


@dataclass(frozen=True, slots=True)
class Trace:
    """A correct response to a problem (without the end token) and the style it is written in."""

    problem: str
    style: str
    response: str


@dataclass(frozen=True, slots=True)
class LineResult:
    """One arithmetic line of a response.

    `right`: the line is what the grammar writes for the line's own left side. `follows`: that left side takes up the value
    reached so far and the next operations of the problem.
    """

    style: str  # count | table | fold
    operands: tuple[int, ...]
    right: bool
    follows: bool


def draw_style(rng: random.Random, weights: Mapping[Any, float]) -> str:
    return rng.choices(STYLES, weights=[weights.get(style, 0.0) for style in STYLES])[0]


def draw_trace(problem: str, style: str, rng: random.Random) -> Trace:
    """A correct response in one style; only `verbose` is random. A fold of one operation is a table line, and named so."""
    if style not in STYLES:
        raise ValueError(f"style = {style!r} is not one of {', '.join(STYLES)}")
    parsed = parse_problem(problem)
    if style == "fold" and len(parsed.operations) == 1:
        style = "table"
    answer = value_after(parsed)
    if style == "verbose":
        lines = _verbose_lines(parsed, answer, rng)
    elif style == "count":
        lines = _count_lines(parsed, 0.0, rng)
    elif style == "skip":
        lines = []
    else:
        lines = _recalled_lines(parsed, operations_per_line=2 if style == "fold" else 1)
    body = "".join(f"{line}\n" for line in lines)
    return Trace(problem, style, f"{THINK_START}\n{body}{THINK_END}\n\\boxed{{{answer}}}")


def boxed_answer(response: str) -> str | None:
    """The digit in the box that ends a response, None when there is none."""
    match = _BOX.search(response)
    return match[1] if match else None


def style_of(response: str) -> str:
    """The style a response is written in; `other` when it has no closed thinking part or none of the five styles."""
    body = _thinking(response)
    if body is None:
        return "other"
    if not body.strip():
        return "skip"
    if body.startswith(OPENING) or RECOUNT in body:
        return "verbose"
    kinds = [kind for line in body.splitlines() if (kind := _kind_of_line(line)) is not None]
    if not kinds:
        return "other"
    return "fold" if "fold" in kinds else max(("count", "table"), key=kinds.count)


def line_results(problem: str, response: str) -> list[LineResult]:
    """Every finished arithmetic line of a response, judged; a line cut off by the token limit is left out."""
    parsed = parse_problem(problem)
    results: list[LineResult] = []
    value: int | None = parsed.start
    position = 0
    for line in response.removeprefix(f"{THINK_START}\n").split("\n")[:-1]:
        if line == RECOUNT:
            value, position = parsed.start, 0
        kind = _kind_of_line(line)
        if kind is None:
            continue
        left = _parse_left_side(line)
        count = len(left.operations)
        follows = left.start == value and left.operations == parsed.operations[position : position + count]
        operands = tuple(operation.operand for operation in left.operations)
        results.append(LineResult(kind, operands, _is_right(parsed, left, kind, line), follows))
        value, position = _written_result(line, kind), position + count
    return results


def _count_line(problem: Problem, value: int, operation: Operation) -> str:
    words = [f"{value}{operation}"]
    unit = Operation(operation.label, operation.sign, 1)
    for left in reversed(range(operation.operand)):
        value = step(problem.family, value, unit)
        words.append(f"{value}{operation.sign}{left}")
    return " ".join(words)


def _recalled_line(problem: Problem, value: int, operations: tuple[Operation, ...]) -> str:
    recalled = Problem(problem.family, value, operations)
    return f"{recalled}={value_after(recalled)}"


def _check_clause(problem: Problem, value: int, operation: Operation) -> str:
    return f" check {_recalled_line(problem, value, (operation,))} ok"


def _count_lines(problem: Problem, check_probability: float, rng: random.Random) -> list[str]:
    lines = []
    for position, operation in enumerate(problem.operations):
        value = value_after(problem, position)
        checked = check_probability > 0 and rng.random() < check_probability
        lines.append(_count_line(problem, value, operation) + (_check_clause(problem, value, operation) if checked else ""))
    return lines


def _recalled_lines(problem: Problem, operations_per_line: int) -> list[str]:
    starts = range(0, len(problem.operations), operations_per_line)
    return [
        _recalled_line(problem, value_after(problem, first), problem.operations[first : first + operations_per_line])
        for first in starts
    ]


def _verbose_lines(problem: Problem, answer: int, rng: random.Random) -> list[str]:
    check_probability = rng.uniform(0.0, MAX_CHECK_PROBABILITY)
    lines = [f"{OPENING} {problem}", *_count_lines(problem, check_probability, rng)]
    for _ in range(MAX_RECOUNTS):
        if rng.random() < _recount_probability(len(problem.operations)):
            lines += [RECOUNT, *_count_lines(problem, check_probability, rng)]
    return [*lines, f"{CONCLUSION} {answer}"]


def _recount_probability(num_operations: int) -> float:
    """Short problems are recounted more often, so that over-thinking is not a matter of long problems only."""
    if num_operations <= 2:
        return 0.7
    return 0.5 if num_operations <= 4 else 0.3


def _thinking(response: str) -> str | None:
    body, end, _ = response.removeprefix(THINK_START).removeprefix("\n").partition(THINK_END)
    return body if end and response.startswith(THINK_START) else None


def _kind_of_line(line: str) -> str | None:
    match = _LEFT_SIDE.match(line)
    if match is None:
        return None
    if not line[match.end() :].startswith("="):
        return "count"
    return "table" if len(match[2]) == 3 else "fold"


def _parse_left_side(line: str) -> Problem:
    """The left side of an arithmetic line as a problem; signs of both families may meet in what a model writes."""
    match = _LEFT_SIDE.match(line)
    assert match is not None
    steps = [match[2][first : first + 3] for first in range(0, len(match[2]), 3)]
    operations = tuple(Operation(text[0], text[1], int(text[2])) for text in steps)
    return Problem(FAMILY_BY_SIGN[operations[0].sign], int(match[1]), operations)


def _is_right(problem: Problem, left: Problem, kind: str, line: str) -> bool:
    if any(FAMILY_BY_SIGN[operation.sign] != problem.family for operation in left.operations):
        return False
    if kind != "count":
        return line == _recalled_line(problem, left.start, left.operations)
    plain = _count_line(problem, left.start, left.operations[0])
    return line in (plain, plain + _check_clause(problem, left.start, left.operations[0]))


def _written_result(line: str, kind: str) -> int | None:
    """The digit a line claims to reach, None when it states none."""
    if kind == "count":
        last_word = line.partition(" check ")[0].split(" ")[-1]
        return int(last_word[0]) if last_word[:1].isdigit() else None
    digit = line.partition("=")[2][:1]
    return int(digit) if digit.isdigit() else None
