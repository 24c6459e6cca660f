r"""Numbers that cannot be computed in any time: towers of powers, huge exponents, factorials of factorials.

Handing them to algebra would cost the full time-out and a worker each; they are found by looking at the text instead.
"""

import re
from typing import Any

LARGEST_EXPONENT = 100_000
LARGEST_FACTORIAL = 5_000
MOST_DIGITS = 2_000

_DIGITS = re.compile(r"\d+")
_FACTORIAL = re.compile(r"(\d+)\)?!")
_LARGE_BINOMIAL = re.compile(r"\\[dt]?binom\{(\d+)")
_ROOT_INDEX = re.compile(r"\\sqrt\[(\d+)")
_REPEATED_FACTORIAL = re.compile(r"\^\{?\(?\d+\)?\}?\)?!|!\)*!|!\)\}?\^|\^\{\(?\d+\)?!")
_LARGE_EXPONENT = re.compile(r"(?:\^|\*\*)\{?\(?-?(\d+)")
_OPEN_POWER = re.compile(r"(?:\^|\*\*)\{?\(?")


def is_beyond_computing(node: Any) -> bool:
    """Whether a node of `compare` holds an expression with numbers too large to compute."""
    if isinstance(node, bool):
        return False
    if node[0] == "leaf":
        return any(_is_beyond_computing(text) for text in node[1:])
    parts = [part for row in node[1] for part in row] if node[0] == "match" else node[1]
    return any(is_beyond_computing(part) for part in parts)


def _is_beyond_computing(text: str) -> bool:
    if any(len(match[0]) > MOST_DIGITS for match in _DIGITS.finditer(text)):
        return True
    if any(_exceeds(match[1], LARGEST_FACTORIAL) for match in _FACTORIAL.finditer(text)) or _REPEATED_FACTORIAL.search(text):
        return True
    for pattern in (_LARGE_BINOMIAL, _ROOT_INDEX):
        if any(_exceeds(match[1], LARGEST_FACTORIAL) for match in pattern.finditer(text)):
            return True
    if any(_exceeds(match[1], LARGEST_EXPONENT) for match in _LARGE_EXPONENT.finditer(text)):
        return True
    return _has_tower(text)


def _exceeds(digits: str, largest: int) -> bool:
    return len(digits) > 12 or int(digits) > largest


def _has_tower(text: str) -> bool:
    """Whether a numeric power stands in the exponent of a numeric power and the whole exponent is large."""
    for match in _OPEN_POWER.finditer(text):
        exponent = _exponent(text, match.end())
        inner = re.search(r"(\d+)\}?\)?(?:\^|\*\*)\{?\(?(\d+)(.*)", exponent)
        if inner is None or inner[1] in ("0", "1"):
            continue
        if re.search(r"\^|\*\*", inner[3]) or len(inner[2]) > 4 or len(inner[1]) * int(inner[2]) > 5:
            return True
    return False


def _exponent(text: str, start: int) -> str:
    """The exponent from `start` to the brace that closes it, or to the end of a chain such as 9^9^9."""
    depth = 1
    for position in range(start, len(text)):
        depth += (text[position] in "({") - (text[position] in ")}")
        if depth == 0 and text[position] in ")}" and text[position + 1 : position + 2] not in ("^", "*"):
            return text[start:position]
    return text[start:]
