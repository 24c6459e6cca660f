"""Answers without parts: numbers, expressions, units, digits in a base, times, dates, ratios, words."""

import re
from fractions import Fraction

from pipeline_lib.grading.maths.answer_types import (
    Based,
    Date,
    Expression,
    Items,
    Number,
    Quantity,
    Ratio,
    Readings,
    Text,
    Time,
)
from pipeline_lib.grading.maths.expressions import parse_expression
from pipeline_lib.grading.maths.lexer import CLOSING, OPENING, Tokens
from pipeline_lib.grading.maths.splitting import split
from pipeline_lib.grading.maths.trees import BeyondComputing, Tree, expand_signs, rational_value, symbols
from pipeline_lib.grading.maths.units import conversion, is_unit_start, read_unit

_BASES = dict(zip((
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen",
    "sixteen",
), range(2, 17), strict=True))  # fmt: skip
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
LONGEST_UNIT = 24
_BASED = re.compile(r"(-?)(\()?([0-9A-Z]+)(?(2)\))_\{?(?:base)?\(?(\d{1,2}|[a-z]+)\)?\}?")
_TIME = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?(?:([ap])\.?m\.?)?", re.IGNORECASE)
_HOUR = re.compile(r"(\d{1,2})([ap])\.?m\.?", re.IGNORECASE)
_DATES = (
    re.compile(r"(?P<month>[a-z]{3,9})\.? (?P<day>\d{1,2})(?: ?(?:st|nd|rd|th))?(?:,? (?P<year>\d{4}))?"),
    re.compile(r"(?P<day>\d{1,2})(?: ?(?:st|nd|rd|th))? (?:of )?(?P<month>[a-z]{3,9})\.?(?:,? (?P<year>\d{4}))?"),
    re.compile(r"(?P<year>\d{4}) ?- ?(?P<number>\d\d) ?- ?(?P<day>\d\d)"),
)
_PHRASES = {
    "no solution": "empty", "no solutions": "empty", "no real solution": "empty", "no real solutions": "empty", "none": "empty",
    "empty set": "empty", "the empty set": "empty", "there is no solution": "empty", "there are no solutions": "empty",
    "all real numbers": "real", "all reals": "real", "any real number": "real", "all real x": "real", "the real numbers": "real",
    "dne": "does not exist", "the limit does not exist": "does not exist",
}  # fmt: skip
EMPTY = Items("set", ())
MINUS_INFINITY: Tree = ("*", ("n", "-1"), ("c", "oo"))
INFINITY: Tree = ("c", "oo")


def interval(ends: str, low: Readings, high: Readings) -> Items:
    return Items("tuple" if ends == "()" else "interval", (low, high), ends)


def letter_of(tokens: Tokens) -> str:
    """The capital letter that tokens begin with, also behind a bracket."""
    letter = tokens[1].text if tokens[0].text == "(" and len(tokens) > 1 else tokens[0].text
    return letter if len(letter) == 1 and "A" <= letter <= "Z" else ""


def read_based(tokens: Tokens) -> Readings:
    if not any(token.text == "_" for token in tokens):
        return ()
    match = _BASED.fullmatch("".join(token.text for token in tokens))
    base = _BASES.get(match[4]) or (int(match[4]) if match[4].isdigit() else 0) if match else 0
    if match is None or not 2 <= base <= 36 or (match[3].isalpha() and base < 11):
        return ()
    valid = all(int(digit, 36) < base for digit in match[3])
    return (Based(match[1] + (match[3].lstrip("0") or "0"), base),) if valid else ()


def read_clock(tokens: Tokens) -> Readings:
    text = "".join(token.text for token in tokens)
    if match := _TIME.fullmatch(text):
        parts = tuple(int(part) for part in match.groups()[:3] if part is not None)
        if parts[0] < 25 and all(part < 60 for part in parts[1:]):
            return (Time(parts, (match[4] or "").lower()),)
    elif match := _HOUR.fullmatch(text):
        return (Time((int(match[1]), 0), match[2].lower()),) if int(match[1]) <= 12 else ()
    return ()


def read_ratio(tokens: Tokens) -> Readings:
    parts = split(tokens, lambda token: token.text == ":")
    if len(parts) == 1:
        return ()
    trees = [parse_expression(part) for part in parts]
    found = tuple(tree for tree in trees if tree is not None)
    return (Ratio(found, bool(read_clock(tokens))),) if len(found) == len(parts) else ()


def read_date(tokens: Tokens) -> Readings:
    text = "".join((" " if token.spaced else "") + token.text for token in tokens).strip().lower()
    for pattern in _DATES:
        match = pattern.fullmatch(text)
        if match is not None:
            parts = match.groupdict()
            month = int(parts["number"]) if "number" in parts else _month(parts["month"])
            day = int(parts["day"])
            return (Date(int(parts["year"] or 0), month, day),) if 1 <= month <= 12 and 1 <= day <= 31 else ()
    return ()


def _month(word: str) -> int:
    return _MONTHS.index(word[:3]) + 1 if word[:3] in _MONTHS else 0


def read_quantity(tokens: Tokens) -> Readings:
    """An amount and a unit, also $ 5, 2 h 30 min and 30°15'."""
    for index in (0, 1):
        if (
            len(tokens) > index + 1
            and tokens[index].text in ("$", "€", "£", "¥", "₹")
            and (index == 0 or tokens[0].text == "-")
        ):
            return _measured((*tokens[:index], *tokens[index + 1 :], tokens[index]._replace(spaced=True)))
    return _measured(tokens)


def _measured(tokens: Tokens, compound: bool = True) -> Readings:
    depth = 0
    for index, token in enumerate(tokens):
        if depth == 0 and index and len(tokens) - index <= LONGEST_UNIT and is_unit_start(tokens, index):
            found = _with_unit(tokens[:index], tokens[index:], compound=compound)
            if found:
                return found
        depth += (token.text in OPENING) - (token.text in CLOSING)
    if tokens[0].kind == "number" and len(tokens) > 1 and tokens[1].text == "^":
        return _ordinal(tokens[:1], tokens[1:])
    for index in range(len(tokens) - 1, 0, -1):
        if tokens[index - 1].kind == "number" or tokens[index - 1].text in ("}", ")"):
            return _with_unit(tokens[:index], tokens[index:], bare=True) if tokens[index].kind == "word" else ()
    return ()


def _with_unit(amount: Tokens, behind: Tokens, bare: bool = False, compound: bool = False) -> Readings:
    second = next(
        (place for place, token in enumerate(behind) if token.kind == "number" and behind[place - 1].kind == "word"), 0
    )
    if second:
        return _added(_measured((*amount, *behind[:second]), False), _measured(behind[second:], False)) if compound else ()
    tree = parse_expression(amount)
    scale_and_unit = read_unit(behind, bare)
    if tree is not None and scale_and_unit is None and (number := _exact(tree)) is not None and abs(number) <= 1:
        scale_and_unit = read_unit(behind, bare, True)
    if tree is None or scale_and_unit is None:
        return _ordinal(amount, behind) if tree is not None else ()
    if symbols(tree) and not bare and not any(token.upright or token.kind != "word" for token in behind):
        return ()
    scale, unit = scale_and_unit
    value = valued(tree if scale == 1 else ("*", tree, ("n", str(scale))))
    return tuple(Quantity(part, unit, bare) if unit else part for part in value if isinstance(part, Number | Expression))


def _added(first: Readings, second: Readings) -> Readings:
    """2 hours 30 minutes in the first unit."""
    if len(first) != 1 or len(second) != 1 or not isinstance(first[0], Quantity) or not isinstance(second[0], Quantity):
        return ()
    one, other = first[0], second[0]
    factor = conversion(other.unit, one.unit)
    if factor is None or not isinstance(one.amount, Number) or not isinstance(other.amount, Number) or one.bare or other.bare:
        return ()
    return (Quantity(valued(("n", str(one.amount.value + factor * other.amount.value)))[0], one.unit),)  # type: ignore[arg-type]


def _ordinal(amount: Tokens, behind: Tokens) -> Readings:
    """7th: a number with the ending of its place."""
    ending = "".join(token.text for token in behind if token.kind == "word")
    number = amount[-1].text
    if len(amount) != 1 or not number.isdigit() or len(behind) - 1 > 3 or ending not in ("st", "nd", "rd", "th"):
        return ()
    expected = {"1": "st", "2": "nd", "3": "rd"}.get(number[-1], "th") if number[-2:-1] != "1" else "th"
    return valued(("n", number)) if ending == expected else ()


def read_value(tokens: Tokens) -> Readings:
    tree = parse_expression(tokens)
    return valued(tree) if tree is not None else ()


def valued(tree: Tree) -> Readings:
    signs = expand_signs(tree)
    if len(signs) > 1:
        return (Items("list", tuple(valued(one) for one in signs), "±"),)
    tree = signs[0]
    value = _exact(tree)
    if value is None:
        return (Expression(tree),)
    digits = str(tree[1]).lstrip("-") if tree[0] == "n" else ""
    if "." not in digits:
        return (Number(value, tree),)
    return (Number(value, tree, len(digits.partition(".")[2]), len(digits.replace(".", "").lstrip("0"))),)


def _exact(tree: Tree) -> Fraction | None:
    try:
        return rational_value(tree)
    except (BeyondComputing, ZeroDivisionError):
        return None


def read_text(tokens: Tokens) -> Readings:
    words = [token.text.lower() if len(token.text) > 1 or token.upright else token.text for token in tokens]
    phrase = _PHRASES.get(" ".join(words), "")
    if phrase == "empty" or words == ["\\emptyset"]:
        return (EMPTY,)
    if phrase == "real" or words == ["\\mathbb", "{", "r", "}"] or words == ["\\mathbb", "{", "R", "}"]:
        return (interval("()", (Expression(MINUS_INFINITY),), (Expression(INFINITY),)),)
    if phrase:
        words = phrase.split()
    if len(words) > 1 and words[0] in ("a", "an", "the"):
        words = words[1:]
    return (Text(tuple(words)),)
