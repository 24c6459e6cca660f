r"""Plain numbers, read exactly: integers, decimals, fractions, mixed numbers, powers of ten, percent, degrees, units."""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from pipeline_lib.grading.maths.units import conversion

# Python refuses to read longer ones, rightly: reading takes quadratic time.
MOST_DIGITS = 4000
MOST_POWER_BITS = 200_000
LARGEST_EXPONENT = 20_000

# Two decimals are equal when they differ by no more than this, absolutely (OlympiadBench's judge) and relative to the gold one.
DECIMAL_TOLERANCE = Fraction(1, 10**8)
# A rounded decimal stands for an exact value when it shows at least so many decimals and significant digits.
LEAST_ROUNDED_DIGITS = 4

_FIRST_CHARACTERS = frozenset("0123456789+-.(\\")
_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)"
_SIGN = r"[+-]?"

_TIMES = r"(?:\\times|\\cdot|\*|x)"
_DECIMAL = re.compile(rf"{_SIGN}{_NUMBER}", re.ASCII)
_FRACTION = re.compile(rf"({_SIGN})\\frac\{{({_SIGN}{_NUMBER})\}}\{{({_SIGN}{_NUMBER})\}}", re.ASCII)
_RATIO = re.compile(rf"({_SIGN}{_NUMBER})/({_SIGN}{_NUMBER})", re.ASCII)
_MIXED = re.compile(r"([+-]?)(\d+)(?:\\frac\{(\d+)\}\{(\d+)\}| (\d+)/(\d+))", re.ASCII)
_SCIENTIFIC = re.compile(rf"(?:({_SIGN}{_NUMBER}){_TIMES}|([+-]?))\(?10\)?\^\{{([+-]?\d+)\}}", re.ASCII)
_EXPONENT = re.compile(rf"({_SIGN}{_NUMBER})[eE]([+-]?\d+)", re.ASCII)
_POWER = re.compile(r"([+-]?)(?:(\d+)|\((-?\d+)\)|\(?\\frac\{(\d+)\}\{(\d+)\}\)?)\^\{(-?\d+)\}", re.ASCII)
_REPEATING = re.compile(r"([+-]?)(\d*)\.(\d*)(?:\\overline|\\bar|\\dot)\{(\d+)\}", re.ASCII)
# One to three digits, a comma and three digits are thousands: 12,345 is not 12.345, but 0,125 is 0.125.
_DECIMAL_COMMA = re.compile(r"(?![+-]?[1-9]\d{0,2},\d{3}$)([+-]?\d+),(\d{2,})", re.ASCII)

# Behind the number: percent, degrees, or words; a lone letter is a unit only inside \text{} (normalise has unpacked it then).
_TAIL = re.compile(
    r"(?P<percent>%)|(?P<degree>°)"
    r"|(?P<unit>(?:\\text\{[^{}]*\}(?:\^\{-?\d\})?|\s*(?!(?:pi|sqrt|sin|cos|tan|log|ln|exp)\b)[A-Za-z]{2,}(?:\^\{\d\})?)"
    r"(?:[ /](?:\\text\{[^{}]*\}|[A-Za-z]+)(?:\^\{\d\})?){0,3})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """An exact number; `decimals` and `significant` count the digits it shows when written as a decimal, else None."""

    value: Fraction
    percent: bool = False
    unit: str = ""
    decimals: int | None = None
    significant: int | None = None


@lru_cache(maxsize=65_536)
def read_quantity(text: str) -> Quantity | None:
    """The number that a normalised answer is, with its unit; None when it is anything else or too long to read."""
    if not text or len(text) > MOST_DIGITS or text[0] not in _FIRST_CHARACTERS:
        return None
    core = text
    percent, unit = False, ""
    while core:
        number = _read_number(core)
        if number is not None:
            value, decimals, significant = number
            return Quantity(value, percent, unit, decimals, significant)
        shorter = _without_tail(core)
        if shorter is None:
            return None
        core, tail = shorter
        if tail == "%":
            percent = True
        elif tail != "°" or not unit:
            unit = tail
    return None


def _without_tail(text: str) -> tuple[str, str] | None:
    """The text without the percent sign, degree sign or unit at its end, and that."""
    for length, tails in ((1, ("%", "°")), (2, ("°C", "°F"))):
        if text.endswith(tails):
            return text[:-length].rstrip(), text[-length:]
    # A number ends in a digit or a brace, so the unit starts right behind the last one that leaves letters after it.
    for match in _TAIL.finditer(text):
        if match.lastgroup == "unit" and match.end() == len(text) and match.start() > 0 and text[match.start() - 1] != "\\":
            return text[: match.start()].rstrip(), match[0].strip()
    return None


def _read_number(text: str) -> tuple[Fraction, int | None, int | None] | None:
    while text.startswith("(") and text.endswith(")") and text.count("(") == 1:
        text = text[1:-1]
    if text.startswith("-(") and text.endswith(")") and text.count("(") == 1:
        text = "-" + text[2:-1]
    if text.startswith("--"):
        return None
    if _DECIMAL.fullmatch(text):
        whole, _, digits = text.lstrip("+-").partition(".")
        significant = len((whole + digits).lstrip("0"))
        return Fraction(text), (len(digits) if "." in text else None), (significant if "." in text else None)
    if not any(character.isdigit() for character in text[:200]):
        return None
    value = _read_fraction(text)
    return None if value is None else (value, None, None)


def _read_fraction(text: str) -> Fraction | None:
    if match := _FRACTION.fullmatch(text):
        return _divide(Fraction(match[2]), Fraction(match[3]), match[1])
    if match := _RATIO.fullmatch(text):
        return _divide(Fraction(match[1]), Fraction(match[2]))
    if match := _MIXED.fullmatch(text):
        part = _divide(Fraction(match[3] or match[5]), Fraction(match[4] or match[6]))
        return None if part is None else (int(match[2]) + part) * (-1 if match[1] == "-" else 1)
    if match := _SCIENTIFIC.fullmatch(text):
        return _scaled(match[1] or f"{match[2]}1", match[3])
    if match := _EXPONENT.fullmatch(text):
        return _scaled(match[1], match[2])
    if match := _POWER.fullmatch(text):
        return _power(match)
    if match := _REPEATING.fullmatch(text):
        shift = 10 ** len(match[3])
        value = Fraction(int((match[2] or "0") + match[3]), shift) + Fraction(int(match[4]), shift * (10 ** len(match[4]) - 1))
        return -value if match[1] == "-" else value
    return None


def _divide(numerator: Fraction, denominator: Fraction, sign: str = "") -> Fraction | None:
    if denominator == 0:
        return None
    return numerator / denominator * (-1 if sign == "-" else 1)


def _scaled(mantissa: str, exponent: str) -> Fraction | None:
    if len(exponent) > 6 or abs(int(exponent)) > LARGEST_EXPONENT:
        return None
    return Fraction(mantissa) * Fraction(10) ** int(exponent)


def _power(match: re.Match[str]) -> Fraction | None:
    sign, natural, signed, numerator, denominator, exponent = match.groups()
    if len(exponent) > 6:
        return None
    base = Fraction(int(numerator), int(denominator) or 1) if numerator else Fraction(int(natural or signed))
    if (numerator and int(denominator) == 0) or (base == 0 and int(exponent) < 0):
        return None
    if (base.numerator.bit_length() + base.denominator.bit_length()) * abs(int(exponent)) > MOST_POWER_BITS:
        return None
    value = base ** int(exponent)
    return Fraction(-value if sign == "-" else value)


def quantities_agree(gold: Quantity, answer: Quantity, tolerance: float | None = None) -> bool:
    """Whether the answer is the gold number, units considered. `tolerance` is absolute, from the benchmark.

    A percentage agrees with the number before the sign and with a hundredth of it, since problems ask for either.
    """
    factor = conversion(answer.unit, gold.unit)
    if factor is None:
        return False
    values = [answer.value * factor]
    if answer.percent and not gold.percent:
        values.append(answer.value / 100)
    golds = [gold.value]
    if gold.percent and not answer.percent:
        golds.append(gold.value / 100)
    return any(
        _is_close(one, gold, other, answer, tolerance, scaled=one != gold.value or other != answer.value)
        for one in golds
        for other in values
    )


def _is_close(one: Fraction, gold: Quantity, other: Fraction, answer: Quantity, tolerance: float | None, scaled: bool) -> bool:
    if one == other:
        return True
    difference = abs(one - other)
    if tolerance is not None and difference <= Fraction(tolerance):
        return True
    if (gold.decimals is not None or answer.decimals is not None) and difference <= DECIMAL_TOLERANCE * min(
        Fraction(1), abs(one)
    ):
        return True
    if scaled:
        return False
    return _is_rounding(answer, difference, gold) or _is_rounding(gold, difference, answer)


def _is_rounding(shown: Quantity, difference: Fraction, exact: Quantity) -> bool:
    """Whether a decimal with enough digits is the correct rounding of a value that is not itself given as a decimal."""
    if shown.decimals is None or shown.significant is None or exact.decimals is not None:
        return False
    if shown.decimals < LEAST_ROUNDED_DIGITS or shown.significant < LEAST_ROUNDED_DIGITS:
        return False
    return difference <= Fraction(1, 2 * 10**shown.decimals)


def decimal_comma(text: str) -> Quantity | None:
    """A number with a decimal comma, such as 2,74; None when the text is not one."""
    match = _DECIMAL_COMMA.fullmatch(text)
    return read_quantity(f"{match[1]}.{match[2]}") if match and len(text) < MOST_DIGITS else None
