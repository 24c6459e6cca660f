"""Units behind a number: words and signs read whole into powers of names, converted by pint; scale words, which are numbers."""

import re
from collections import Counter
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any

from pipeline_lib.grading.maths.lexer import COMMON_WORDS, Token, Tokens
from pipeline_lib.grading.maths.unit_names import is_thing, thing_name, unit_name

# Names with their powers, sorted; a name is pint's, one of _APART, or a thing counted ("apple").
Unit = tuple[tuple[str, int], ...]

SCALES = {
    "dozen": 12, "dozens": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "millions": 10**6, "billion": 10**9,
    "hundreds": 100, "thousands": 1000, "billions": 10**9, "trillion": 10**12, "trillions": 10**12, "lakh": 10**5, "crore": 10**7,
}  # fmt: skip
PERCENT: Unit = (("percent", 1),)
DEGREE: Unit = (("degree", 1),)
RADIAN: Unit = (("radian", 1),)
_POWER_BEFORE, _POWER_BEHIND = {"square": 2, "cubic": 3}, {"squared": 2, "cubed": 3}
# Units that count without \\text{}, even glued to the number: 5cm. Other glued letters are variables.
PLAIN = frozenset((
    "cm", "mm", "km", "dm", "nm", "kg", "mg", "ml", "mL", "cl", "dl", "ft", "lb", "lbs", "oz", "yd", "mi", "mph", "kph", "kmh",
    "kmph", "kW", "kWh", "Hz", "kHz", "MHz", "GHz", "kJ", "MJ", "eV", "keV", "MeV", "GeV", "mA", "mV", "kV", "kN", "Pa", "kPa",
    "mol", "rad", "deg", "min", "mins", "hr", "hrs", "pct",
))  # fmt: skip
_VOWELS = frozenset("aeiouy")
_DEGREE = re.compile(r"°|\^ (?:\{ )?\\circ(?: \})?|\bdegrees?\b|\bdeg\b")
_TEMPERATURE = re.compile(r"(?:degree\s+)?(?<![/\w] )\b(celsius|fahrenheit)\b|degree\s+([CF])\b", re.IGNORECASE)
_PART = re.compile(
    r"\^ (?:\{ )?(?P<exponent>(?:- )?[0-9]) (?:\} )?|(?P<divided>/|per\b|an?\b)|(?P<word>[^\W\d_]+)|(?P<sign>[%°$€£¥₹])"
    r"|(?P<joint>\\cdot|\*|-|\\times|\.|\s+)|."
)
# Kinds that never convert into each other, whatever their size: each currency, each scale of temperature, shares, angles.
_APART = (
    "dollar = [money_usd]", "cent = dollar / 100", "euro = [money_eur]", "pound_sterling = [money_gbp]", "yen = [money_jpy]",
    "yuan = [money_cny]", "rupee = [money_inr]", "scale_celsius = [scale_c]", "scale_fahrenheit = [scale_f]",
    "share_percent = [share]", "basis_point = share_percent / 100", "angle_degree = [angle_in_degrees]",
    "angle_radian = [angle_in_radians]",
)  # fmt: skip
_PINT_NAMES = {
    "percent": "share_percent",
    "degree": "angle_degree",
    "radian": "angle_radian",
    "celsius": "scale_celsius",
    "fahrenheit": "scale_fahrenheit",
}


# Spellings of units in one: the sign of the ohm, the prefix micro, everything below a fraction bar or in brackets behind a slash.
_SPELLINGS = tuple((re.compile(pattern), spelled) for pattern, spelled in (
    (r"\\Omega", "ohm"), (r"\\mu (?=[a-zA-Z])|[µμ](?=[a-zA-Z])", "u"), (r"\bNm\b", "N m"), (r"\bsqft\b", "sq ft"),
    (r"\bper cent\b", "percent"), (r"\\frac \{ ((?:[^{}]|\{[^{}]*\})*) \} \{ ((?:[^{}]|\{[^{}]*\})*) \}", r"\1 / ( \2 )"),
    (r"(/ \w+) - (?=[a-zA-Z])", r"\1 / "),
))  # fmt: skip
_DENOMINATOR = re.compile(r"/ \(([^()/]*)\)")
_WORD = re.compile(r"(?<!\\)\b[^\W\d_]+")


def is_unit_start(tokens: Tokens, index: int) -> bool:
    """Whether a unit may begin here, behind an amount."""
    token = tokens[index]
    if token.text in ("%", "°", "$", "€", "£", "¥", "₹"):
        return True
    if token.text == "^" and "\\circ" in (following := [part.text for part in tokens[index + 1 : index + 3]]):
        return following[0] in ("\\circ", "{")
    behind = tokens[index + 1] if index + 1 < len(tokens) else None
    if token.text == "\\Omega":
        return behind is None or token.upright
    if token.text == "\\mu":
        return behind is not None and behind.kind == "word" and behind.upright
    if token.text == "\\frac":
        return len(tokens) > index + 2 and tokens[index + 2].upright and tokens[index + 2].kind == "word"
    if token.text == "(" and index + 1 < len(tokens):
        return tokens[index + 1].upright and tokens[index + 1].kind == "word"
    return token.kind == "word" and _is_unit_word(token)


def _is_unit_word(token: Token) -> bool:
    if token.upright or not token.text.isascii():
        return len(token.text) > 1 or unit_name(token.text) is not None
    word = token.text.lower()
    if token.text in PLAIN or token.text.removesuffix("s") in PLAIN:
        return True
    is_word = len(word) > 2 and bool(_VOWELS.intersection(word)) and (token.text.islower() or token.text.istitle())
    return (
        token.spaced
        and is_word
        and word not in COMMON_WORDS
        and not word.startswith(("sin", "cos", "tan", "exp", "max", "inf", "theta"))
    )


@lru_cache(maxsize=4096)
def read_unit(tokens: Tokens, plain: bool = False, single: bool = False) -> tuple[int, Unit] | None:
    """The scale and the unit that the tokens are from end to end; None for anything else.

    `plain` takes bare letters as units, `single` a thing in the singular.
    """
    for index, token in enumerate(tokens):
        is_scale = token.text in ("C", "F") and index > 0 and tokens[index - 1].text in ("°", "\\circ", "}")
        if token.kind == "word" and not (_is_unit_word(token) or is_scale or (plain and len(token.text) < 3)):
            return None
    if len(tokens) > 2 and tokens[0].text == "(" and tokens[-1].text == ")":
        tokens = tokens[1:-1]
    text = _DEGREE.sub(" degree ", " ".join(token.text for token in tokens))
    for pattern, spelled in _SPELLINGS:
        text = pattern.sub(spelled, text)
    text = _DENOMINATOR.sub(lambda match: _WORD.sub(lambda word: f"/ {word[0]}", match[1]), text)
    text = _TEMPERATURE.sub(lambda match: "celsius" if (match[1] or match[2]).lower().startswith("c") else "fahrenheit", text)
    scale, power, sign = 1, 1, 1
    last: str | None = None
    powers: Counter[str] = Counter()
    things: list[str] = []
    for match in _PART.finditer(text + " "):
        word = match[0].strip()
        if match["exponent"]:
            if last is None or things or match["exponent"][-1] == "0":
                return None
            powers[last] *= int(match["exponent"].replace(" ", ""))
        elif match["divided"]:
            if things and not _counted(powers, things, 1, single):
                return None
            sign = -1
        elif match["word"] and word.lower() in SCALES and not powers and not things:
            scale *= SCALES[word.lower()]
        elif match["word"] or match["sign"]:
            name = unit_name(word)
            if len(powers) > 3 or (things and name is not None) or (last is not None and name is None and sign > 0):
                return None
            if name is None:
                things.append(word.lower())
            elif name in _POWER_BEFORE:
                power = _POWER_BEFORE[name]
            elif name in _POWER_BEHIND:
                if last is None:
                    return None
                powers[last] *= _POWER_BEHIND[name]
            else:
                powers[name] += sign * power
                last, power, sign = name, 1, 1
        elif not match["joint"]:
            return None
    if things:
        if power > 1 or not _counted(powers, things, sign, single or sign < 0):
            return None
        sign = 1
    # A dangling "per", or nothing at all, is no unit.
    if sign < 0 or power > 1 or (not powers and scale == 1):
        return None
    return scale, tuple(sorted((name, count) for name, count in powers.items() if name and count))


def _counted(powers: Counter[str], things: list[str], sign: int, single: bool) -> bool:
    """Take the words for a thing as one unit; False where they are none."""
    if not is_thing(things, single):
        return False
    powers[" ".join(thing_name(word) for word in things)] += sign
    things.clear()
    return True


def conversion(answer: Unit, gold: Unit) -> Fraction | None:
    """The factor that brings an amount in the answer's unit to the gold one; None when they measure different things."""
    if answer == gold:
        return Fraction(1)
    sizes = [_size(unit) for unit in (answer, gold)]
    if sizes[0] is None or sizes[1] is None or sizes[0][0] != sizes[1][0]:
        return None
    return sizes[0][1] / sizes[1][1]


@cache
def _registry() -> Any:
    # A second of import, which only units that differ are worth.
    import pint

    registry: Any = pint.UnitRegistry(non_int_type=Fraction, cache_folder=None)
    for definition in _APART:
        registry.define(definition)
    return registry


@lru_cache(maxsize=4096)
def _size(unit: Unit) -> tuple[Any, Fraction] | None:
    """The dimension of a unit and its size in base units; None when pint does not know a part of it."""
    registry = _registry()
    quantity = registry.Quantity(Fraction(1))
    try:
        for name, power in unit:
            quantity = quantity * registry.Quantity(Fraction(1), _PINT_NAMES.get(name, name)).to_base_units() ** power
        return quantity.dimensionality, Fraction(quantity.to_base_units().magnitude)
    except Exception:
        return None
