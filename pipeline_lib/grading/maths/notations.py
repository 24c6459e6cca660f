r"""Notations of packages, of plain TeX and of grouped digits in the one spelling that the lexer reads."""

import re
from collections.abc import Callable

# Groups of three digits that can be nothing else; a comma in braces is a decimal comma where it cannot group.
_BRACED_COMMA = re.compile(r"(?<![0-9.])(0)\s*\{\s*,\s*\}(?=[0-9])|(?<=[0-9])\s*\{\s*,\s*\}(?=[0-9]+(?<![0-9]{3})(?![0-9]))")
_BRACED_LIST = re.compile(r"(?<![0-9.,}])[0-9]+(?:\s*\{\s*,\s*\}\s*[0-9]+){2,}")
_GROUPS = re.compile(r"(?<=[0-9])\s*(?:\{\s*,\s*\}|\\[,;:! ]|,\\[,;:!]|~)\s*(?=[0-9]{3}(?![0-9]))")
_SPACED_GROUPS = re.compile(r"(?<![0-9.,/^_] )(?<![0-9.,/^_])[1-9][0-9]{0,2}(?: [0-9]{3})+(?![0-9/])(?! [0-9])")
_MARKED_GROUPS = re.compile(r"(?<![\w'.,])[1-9][0-9]{0,2}(?:(?:'[0-9]{3})+|(?:_[0-9]{3})+)(?![\w'])")
_TIMES_TEN = re.compile(r"(?<=[0-9])\s*(?:[xX]|\\(?:text|mathrm)\s*\{\s*[xX]\s*\})\s*(?=10\s*(?:\^|\*\*))")
_EXPONENT = re.compile(r"(?<=[0-9])\\(?:text|mathrm)\s*\{\s*[eE]\s*\}(?=[+-]?[0-9])")
_LETTER_DEGREE = re.compile(r"(?<=[0-9])\s*\^\s*(?:\{\s*o\s*\}|o(?![a-z]))")
_COLON = re.compile(r"(?<=[0-9])\{:\}")
_FONT_OF_ONE = re.compile(r"\\(math[a-z]{2,}|boldsymbol|bm|pmb|text)(?:\s+([A-Za-z])|\s*([0-9]))")
_OHM = re.compile(r"\\(?:text|mathrm)\s*\{\s*([kMGm]?)\s*(?:\\Omega\s*\}|\}\s*\\Omega(?![a-zA-Z]))")
_SIUNITX = re.compile(r"\\(SI|qty|num|ang|si|unit)(?![A-Za-z])(?:\[[^\]]*\])?\s*(?=\{)")
_UNIT_MACROS: tuple[tuple[re.Pattern[str], str], ...] = tuple((re.compile(pattern), spelled) for pattern, spelled in (
    (r"\\per(?![a-z])", "/"), (r"\\squared", "^2"), (r"\\cubed", "^3"), (r"\\degree\s*Celsius|\\celsius", "°C"), (r"\\percent", "%"),
    (r"\\(kilo|mega|giga|tera|milli|micro|nano|pico|centi|deci|hecto)\s*\\?", r" \1"), (r"\\([A-Za-z]+)", r" \1 "), (r"[.~]", " "),
))  # fmt: skip


def _listed(match: re.Match[str]) -> str:
    """1{,}2{,}3 as a list, unless the commas group digits."""
    parts = re.split(r"\s*\{\s*,\s*\}\s*", match[0])
    return match[0] if all(len(part) == 3 for part in parts[1:]) else ", ".join(parts)


def _without_spaces(match: re.Match[str]) -> str:
    return match[0].replace(" ", "")


# What has to be part of a text for a notation to be in it, the notation, and its spelling.
_NOTATIONS: tuple[tuple[str, re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    ("{:}", _COLON, ":"), (",", _BRACED_LIST, _listed), (",", _BRACED_COMMA, lambda match: f"{match[1] or ''}."), ("", _GROUPS, ""),
    (" ", _SPACED_GROUPS, _without_spaces),
    ("'", _MARKED_GROUPS, lambda match: match[0].replace("'", "")), ("_", _MARKED_GROUPS, lambda match: match[0].replace("_", "")),
    ("10", _TIMES_TEN, r"\\times "), ("{", _EXPONENT, "e"), ("o", _LETTER_DEGREE, "°"), ("+/-", re.compile(r"\+/-"), r"\\pm "),
    ("\\", _FONT_OF_ONE, lambda match: rf"\{match[1]}{{{match[2] or match[3]}}}"),
    ("\\Omega", _OHM, r"\\text{ \1ohm}"), ("\\AA", re.compile(r"\\AA(?![a-zA-Z])"), r"\\text{ angstrom}"),
)  # fmt: skip


def plain_notation(text: str) -> str:
    """The text with digits in one piece, quantities of siunitx as amounts with units, and powers of ten with their sign."""
    if text.isdigit():
        return text
    for part, notation, spelled in _NOTATIONS:
        if part in text:
            text = notation.sub(spelled, text)
    return _without_siunitx(text) if "\\" in text else text


def _without_siunitx(text: str) -> str:
    r"""\SI{5}{\kilo\gram} as 5\text{ kilogram}."""
    while (match := _SIUNITX.search(text)) is not None:
        name, start = match[1], match.end()
        arguments = []
        for _ in range(2 if name in ("SI", "qty") else 1):
            end = closing_brace(text, start)
            if end is None:
                return text
            arguments.append(text[start + 1 : end])
            start = end + 1
        spelled = arguments[0] if name not in ("si", "unit") else ""
        if name == "ang":
            spelled = "".join(part + sign for part, sign in zip(spelled.split(";"), ("°", "'", "''"), strict=False))
        if name not in ("num", "ang"):
            unit = arguments[-1]
            for pattern, plain in _UNIT_MACROS:
                unit = pattern.sub(plain, unit)
            spelled += rf"\text{{ {unit.strip()}}}"
        text = text[: match.start()] + spelled + text[start:]
    return text


def closing_brace(text: str, start: int) -> int | None:
    """Where the brace closes that opens at `start`; None when none opens there or it never closes."""
    if not text.startswith("{", start):
        return None
    depth = 0
    position = start
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 2
            continue
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return position
        position += 1
    return None
