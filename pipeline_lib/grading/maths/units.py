"""Units behind a number: which are the same, which can be converted, which mean different things."""

import re
from fractions import Fraction
from functools import lru_cache

# Name → (dimension, size in the dimension's base unit).
_SIZES: dict[str, tuple[str, Fraction]] = {
    name: (dimension, Fraction(size))
    for dimension, units in {
        "length": {
            "m": "1", "cm": "1/100", "mm": "1/1000", "km": "1000", "dm": "1/10", "in": "0.0254", "ft": "0.3048", "yd": "0.9144",
            "mi": "1609.344", "nm": "1e-9",
        },
        "mass": {"kg": "1", "g": "1/1000", "mg": "1e-6", "lb": "0.45359237", "oz": "0.028349523125"},
        "time": {"s": "1", "ms": "1/1000", "min": "60", "h": "3600", "day": "86400", "week": "604800"},
        "volume": {"l": "1", "ml": "1/1000"},
        "speed": {"m/s": "1", "km/h": "1000/3600", "mph": "0.44704"},
        # Two dimensions, since the factor between them is not rational.
        "angle": {"degree": "1"},
        "angle in radians": {"radian": "1"},
        "money": {"dollar": "1", "cent": "1/100"},
    }.items()
    for name, size in units.items()
}  # fmt: skip

_SYNONYMS = {
    "meter": "m", "metre": "m", "centimeter": "cm", "centimetre": "cm", "millimeter": "mm", "millimetre": "mm",
    "kilometer": "km", "kilometre": "km", "decimeter": "dm", "inch": "in", "inche": "in", "foot": "ft", "feet": "ft",
    "yard": "yd", "mile": "mi", "kilogram": "kg", "gram": "g", "gm": "g", "milligram": "mg", "pound": "lb", "ounce": "oz",
    "second": "s", "sec": "s", "millisecond": "ms", "minute": "min", "hour": "h", "hr": "h", "liter": "l", "litre": "l",
    "milliliter": "ml", "mile per hour": "mph", "mi/h": "mph", "kilometer per hour": "km/h", "kph": "km/h", "kmh": "km/h",
    "kmph": "km/h", "km/hr": "km/h", "meter per second": "m/s", "usd": "dollar", "buck": "dollar", "nanometer": "nm",
    "°": "degree", "deg": "degree", "rad": "radian",
}  # fmt: skip

_POWER_WORDS = {"sq": 2, "square": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
_POWER = re.compile(r"\^\{?(-?\d+)\}?")


@lru_cache(maxsize=4096)
def canonical_unit(words: str) -> tuple[str, int]:
    """The unit in its short name and its power, such as ("cm", 2) for "square centimeters"; ("", 1) for none."""
    power = 1
    match = _POWER.search(words)
    if match is not None:
        power = int(match[1]) if len(match[1]) < 3 else 0
        words = _POWER.sub("", words)
    names = []
    for word in re.sub(r"\\text|[{}\\.]", " ", words.lower()).split():
        if word in _POWER_WORDS:
            power = _POWER_WORDS[word]
        else:
            names.append(_SYNONYMS.get(word) or _singular(word))
    name = " ".join(names)
    return _SYNONYMS.get(name, name), power


def conversion(answer_unit: str, gold_unit: str) -> Fraction | None:
    """The factor that brings a value in the answer's unit to the gold one; None when the units mean different things.

    A unit on one side only, or one that is not a known measure ("apples"), is taken as an explanation of the number: factor 1.
    """
    (answer_name, answer_power), (gold_name, gold_power) = canonical_unit(answer_unit), canonical_unit(gold_unit)
    if (answer_name, answer_power) == (gold_name, gold_power) or not answer_name or not gold_name:
        return Fraction(1)
    answer_size, gold_size = _SIZES.get(answer_name), _SIZES.get(gold_name)
    if answer_size is None or gold_size is None:
        return Fraction(1)
    if answer_size[0] != gold_size[0] or answer_power != gold_power:
        return None
    return Fraction((answer_size[1] / gold_size[1]) ** answer_power)


def _singular(word: str) -> str:
    for name in (word, word.removesuffix("s"), word.removesuffix("es")):
        if name in _SYNONYMS or name in _SIZES:
            return _SYNONYMS.get(name, name)
    return word.removesuffix("s") if len(word) > 3 else word
