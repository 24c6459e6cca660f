"""How LiveCodeBench compares: printed output line by line, returned values by equality."""

from decimal import Decimal, InvalidOperation
from typing import Any


def is_same_output(printed: str, expected: str) -> bool:
    """Whether two outputs agree: as many lines after stripping, and each pair of lines equal, or equal as decimal numbers.

    Lines are stripped too. Numbers are compared exactly (1.0 equals 1, but 0.3 is not 0.30000000000000004): LiveCodeBench has
    no tolerance. Source: LiveCodeBench, lcb_runner/evaluation/testing_util.py, grade_stdio.
    """
    printed, expected = printed.strip(), expected.strip()
    # Counted before it is taken apart: how many objects are made here is decided by what is expected, not by what is printed.
    if printed.count("\n") != expected.count("\n"):
        return False
    return all(map(_is_same_line, printed.split("\n"), expected.split("\n")))


def _is_same_line(printed: str, expected: str) -> bool:
    printed, expected = printed.strip(), expected.strip()
    if printed == expected:
        return True
    numbers = expected.split()
    tokens = printed.split(maxsplit=len(numbers))
    try:
        return len(tokens) == len(numbers) and all(map(_is_same_number, tokens, numbers))
    except InvalidOperation:
        return False


def _is_same_number(printed: str, expected: str) -> bool:
    return Decimal(printed) == Decimal(expected)


def is_same_result(returned: Any, expected: Any) -> bool:
    """Whether a returned plain value equals the expected JSON value; a tuple counts as the list of its members.

    LiveCodeBench converts the outermost tuple; inner ones are converted here too, as JSON cannot say tuple anywhere.
    """
    return bool(_tuples_to_lists(returned) == expected)


def _tuples_to_lists(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_tuples_to_lists(member) for member in value]
    if isinstance(value, dict):
        return {key: _tuples_to_lists(member) for key, member in value.items()}
    return value
