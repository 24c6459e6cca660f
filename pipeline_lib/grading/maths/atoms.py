"""Answers without parts: numbers, expressions, units, digits in a base, times, dates, ratios, words."""

import re
from fractions import Fraction

from pipeline_lib.grading.maths.answer_types import (
    Answer,
    Based,
    Choice,
    Date,
    Expression,
    Items,
    Number,
    Quantity,
    Ratio,
    Readings,
    Text,
    Time,
    Union,
)
from pipeline_lib.grading.maths.cursor import CALCULUS
from pipeline_lib.grading.maths.expressions import parse_expression
from pipeline_lib.grading.maths.intervals import HIGH, REAL_LINE, interval, line_without
from pipeline_lib.grading.maths.lexer import CLOSING, OPENING, Token, Tokens
from pipeline_lib.grading.maths.splitting import closing, split
from pipeline_lib.grading.maths.trees import BeyondComputing, Tree, expand_signs, rational_value, symbols
from pipeline_lib.grading.maths.unit_names import is_thing
from pipeline_lib.grading.maths.units import DEGREE, conversion, is_unit_start, read_unit

_BASES = dict(zip((
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen",
    "sixteen",
), range(2, 17), strict=True))  # fmt: skip
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
LONGEST_UNIT = 32
CHOICES = "ABCDEFGH"
_BASED = re.compile(
    r"(-?)(?:\\overline)?([({])?([0-9A-Z]+|[a-z]*[0-9][0-9a-z]*|[a-z]{2,})(?(2)[)}])"
    r"(?:_\{?(?:base)?|(?:in)?\(?base)\(?(\d{1,2}|[a-z]+)\)?\}?\)?"
)
_ARC = re.compile(
    r"(-?)(\d+(?:\.\d+)?)(?:°|\^\{?\\circ\}?|degrees?)(\d+(?:\.\d+)?)(?:\^?\{?'\}?|minutes?)"
    r"(?:(\d+(?:\.\d+)?)(?:\^?\{?''\}?|\"|seconds?))?"
)
_PREFIXED = re.compile(r"0[xX]([0-9a-fA-F]+)|0b([01]+)")
_TIME = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?(?:([ap])\.?m\.?)?", re.IGNORECASE)
_HOUR = re.compile(r"(\d{1,2})([ap])\.?m\.?", re.IGNORECASE)
_DATES = (
    re.compile(r"(?:[a-z]+day,? )?(?P<month>[a-z]{3,9})\.? (?P<day>\d{1,2})(?: ?(?:st|nd|rd|th))?(?:,? (?P<year>\d{4}))?"),
    re.compile(
        r"(?:[a-z]+day,? )?(?:the )?(?P<day>\d{1,2})(?: ?(?:st|nd|rd|th))? (?:of )?(?P<month>[a-z]{3,9})\.?(?:,? (?P<year>\d{4}))?"
    ),
    re.compile(r"(?P<year>\d{4}) ?([-/]) ?(?P<number>\d\d) ?\2 ?(?P<day>\d\d)"),
)
_CURRENCIES = frozenset(("$", "€", "£", "¥", "₹", "USD", "EUR", "GBP", "INR", "Rs"))
_PHRASES = {
    "no solution": "empty", "no solutions": "empty", "no real solution": "empty", "no real solutions": "empty", "none": "empty",
    "empty set": "empty", "the empty set": "empty", "there is no solution": "empty", "there are no solutions": "empty",
    "all real numbers": "real", "all reals": "real", "any real number": "real", "all real x": "real", "the real numbers": "real",
    "all positive integers": "positive integer",
    "positive integers": "positive integer", "all integers": "integer", "the integers": "integer", "dne": "does not exist",
    "the limit does not exist": "does not exist",
}  # fmt: skip
_NUMERALS = {name: value for value, name in enumerate((
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen",
    "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
))}  # fmt: skip
_TENS = {name: 10 * value for value, name in enumerate((
    "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
), 2)}  # fmt: skip
_PARTS = {"half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "eighth": 8, "tenth": 10}
_TIMES_OF_DAY = {"noon": Time((12, 0), "p"), "midnight": Time((12, 0), "a")}
EMPTY = Items("set", ())
_ZERO: Readings = (Number(Fraction(0), ("n", "0")),)
_REALS: dict[str, Items | Union] = {
    "\\mathbbR": REAL_LINE, **dict.fromkeys(("\\mathbbR^+", "\\mathbbR_+", "\\mathbbR_>0"), interval("()", _ZERO, HIGH)),
    **dict.fromkeys(("\\mathbbR^*", "\\mathbbR^\\times"), line_without((_ZERO,))),
}  # fmt: skip


def letter_of(tokens: Tokens) -> str:
    """The capital letter that tokens begin with, also behind a bracket."""
    letter = tokens[1].text if tokens[0].text == "(" and len(tokens) > 1 else tokens[0].text
    return letter if len(letter) == 1 and "A" <= letter <= "Z" else ""


def read_choices(tokens: Tokens) -> Readings:
    """AC: several choices in the order of the alphabet."""
    letters = "".join(token.text for token in tokens)
    is_run = 1 < len(letters) <= len(CHOICES) and letters.isalpha() and all(token.kind == "word" for token in tokens)
    if not is_run or list(letters) != sorted(set(letters).intersection(CHOICES)):
        return ()
    return (Items("list", tuple((Choice(letter),) for letter in letters), "dots"),)


def read_word(tokens: Tokens) -> Readings:
    """Numbers and times in words: twenty-five, two thirds, noon."""
    words = [token.text.lower() for token in tokens if token.text != "-"]
    if len(tokens) > 3 or any(token.kind != "word" for token in tokens if token.text != "-") or not words:
        return ()
    if len(words) == 1 and words[0] in _TIMES_OF_DAY:
        return (_TIMES_OF_DAY[words[0]],)
    units = [_NUMERALS.get(word, 0) for word in words]
    if len(words) == 1 and words[0] in {**_NUMERALS, **_TENS}:
        return valued(("n", str({**_NUMERALS, **_TENS}[words[0]])))
    if len(words) != 2 or not 0 < units[1 if words[0] in _TENS else 0] < 10:
        return ()
    part = words[1] if words[1] in _PARTS else words[1].removesuffix("s")
    if part in _PARTS:
        return valued(("/", ("n", str(units[0])), ("n", str(_PARTS[part]))))
    return valued(("n", str(_TENS[words[0]] + units[1]))) if words[0] in _TENS else ()


def read_based(tokens: Tokens) -> Readings:
    if not any(token.text in ("_", "base") or token.text[0] in "xXb" for token in tokens[1:]):
        return ()
    text = "".join(token.text for token in tokens)
    if prefixed := _PREFIXED.fullmatch(text):
        return valued(("n", str(int(prefixed[1], 16) if prefixed[1] else int(prefixed[2], 2))))
    match = _BASED.fullmatch(text)
    base = _BASES.get(match[4]) or (int(match[4]) if match[4].isdigit() else 0) if match else 0
    if match is None or not 2 <= base <= 36 or (match[3].isalpha() and base < 11):
        return ()
    valid = all(int(digit, 36) < base for digit in match[3])
    return (Based(match[1] + (match[3].upper().lstrip("0") or "0"), base),) if valid else ()


def read_clock(tokens: Tokens) -> Readings:
    text = "".join(token.text for token in tokens).replace("o'clock", "")
    if match := _TIME.fullmatch(text):
        parts = tuple(int(part) for part in match.groups()[:3] if part is not None)
        half = (match[4] or "").lower()
        if parts[0] < (13 if half == "a" else 25) and all(part < 60 for part in parts[1:]):
            return (Time(parts, half),)
    elif match := _HOUR.fullmatch(text):
        return (Time((int(match[1]), 0), match[2].lower()),) if int(match[1]) <= 12 else ()
    return ()


def read_ratio(tokens: Tokens) -> Readings:
    parts = split(tokens, lambda token: token.text in (":", "to"))
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
    if any(token.text in CALCULUS for token in tokens):
        return ()
    if len(tokens) > 1 and tokens[0].kind == "number" and (place := _ordinal(tokens[:1], tokens[1:])):
        return place
    sign = "" if tokens[0].text != "-" else "-"
    bare = tokens[len(sign) :]
    if len(bare) > 2 and bare[0].text == "US" and bare[1].text == "$":
        bare = bare[1:]
    if len(bare) > 1 and bare[0].text in _CURRENCIES:
        said_again = bare[0].text == "$" and bare[-1].text.lower() in ("dollars", "dollar", "usd")
        unit = () if said_again else (bare[0]._replace(spaced=True, upright=True),)
        amount = (*tokens[: len(sign)], *bare[1 + (bare[1].text == "." and bare[0].kind == "word") :])
        # $3/hour.
        slash = next(
            (place for place, one in enumerate(amount[:-1]) if one.text == "/" and is_unit_start(amount, place + 1)), None
        )
        return _measured((*amount[:slash], *unit, *(amount[slash:] if slash else ())))
    return _measured(_unit_behind_fraction(tokens))


def _unit_behind_fraction(tokens: Tokens) -> Tokens:
    r"""\frac{180°}{7} with its unit behind."""
    end = closing(tokens, 1) if len(tokens) > 3 and tokens[0].text == "\\frac" and tokens[1].text == "{" else None
    start = next((place for place in range(3, end or 0) if is_unit_start(tokens, place)), None)
    if end is None or start is None or tokens[-1].text != "}":
        return tokens
    return (*tokens[:start], *tokens[end:], *tokens[start:end])


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
        return added(_measured((*amount, *behind[:second]), False), _measured(behind[second:], False)) if compound else ()
    if all(token.upright and token.kind == "word" for token in amount):
        # A circle, and P(heads).
        return ()
    tree = parse_expression(amount)
    scale_and_unit = read_unit(behind, bare)
    if tree is not None and scale_and_unit is None and (number := _exact(tree)) is not None and abs(number) <= 1:
        scale_and_unit = read_unit(behind, bare, True)
    if tree is None or scale_and_unit is None:
        return _ordinal(amount, behind) if tree is not None else ()
    if symbols(tree) and behind[0].text == "(":
        return ()
    if symbols(tree) and not bare and not any(token.upright or token.kind != "word" for token in behind):
        return ()
    scale, unit = scale_and_unit
    value = valued(tree if scale == 1 else ("*", tree, ("n", str(scale))))
    return tuple(Quantity(part, unit, bare) if unit else part for part in value if isinstance(part, Number | Expression))


def added(first: Readings, second: Readings) -> Readings:
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
    number = amount[-1].text
    start = next((place for place, token in enumerate(behind) if token.kind == "word"), 0)
    ending, named = behind[start].text, [token for token in behind[start + 1 :] if token.text != "}"]
    is_noun = all(token.upright for token in named) and (not named or is_thing([token.text.lower() for token in named], True))
    if len(amount) != 1 or not number.isdigit() or start > 2 or not is_noun or ending not in ("st", "nd", "rd", "th"):
        return ()
    expected = {"1": "st", "2": "nd", "3": "rd"}.get(number[-1], "th") if number[-2:-1] != "1" else "th"
    return valued(("n", number)) if ending == expected else ()


def read_arc(tokens: Tokens) -> Readings:
    """30°15'20'' in degrees."""
    match = (
        _ARC.fullmatch("".join(token.text for token in tokens)) if tokens[0].kind == "number" or tokens[0].text == "-" else None
    )
    if match is None:
        return ()
    size = sum(Fraction(part) / 60**place for place, part in enumerate(match.groups()[1:]) if part is not None)
    value = valued(("n", str(-size if match[1] else size)))[0]
    return (Quantity(value, DEGREE),) if isinstance(value, Number) else ()


def read_value(tokens: Tokens) -> Readings:
    if tokens[0].text.lower() in ("minus", "negative") and len(tokens) > 1:
        tokens = (Token("sign", "-"), *tokens[1:])
    if len(tokens) == 2 and tokens[0].text.islower() and len(tokens[0].text) == 1 and tokens[1].text == ")":
        # a): a choice in small letters.
        tokens = tokens[:1]
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


def units_or_variables(tokens: Tokens, readings: list[Answer]) -> list[Answer]:
    """The readings without expressions where an upright letter is a unit, and so no variable."""
    has_unit = any(isinstance(answer, Quantity) and not answer.bare for answer in readings)
    if not has_unit or not any(token.upright for token in tokens):
        return readings
    return [answer for answer in readings if not isinstance(answer, Expression)]


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
    joined = "".join(token.text for token in tokens if token.text not in ("{", "}"))
    if phrase == "real" or joined in _REALS:
        return (_REALS.get(joined, REAL_LINE),)
    if joined in ("\\mathbbZ^+", "\\mathbbZ_>0") or phrase == "positive integer":
        return (Text(("\\mathbb", "{", "Z", "}", "^", "+")),)
    if phrase == "integer":
        return (Text(("\\mathbb", "{", "Z", "}")),)
    if phrase:
        words = phrase.split()
    if len(words) > 1 and words[0] in ("a", "an", "the"):
        words = words[1:]
    return (Text(tuple(words)),)
