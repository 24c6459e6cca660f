"""One text for all the ways of writing the same problem, and one for all the ways of writing the same answer."""

import re
import unicodedata
from fractions import Fraction

# Commands that change the size or the spacing of a formula, never its meaning.
_LAYOUT = re.compile(
    r"\\(?:left|right|bigg?[lrm]?|displaystyle|textstyle|qquad|quad|limits)(?![a-z])|\\[,;:!> ]|~|(?<=\\)[dt](?=frac)"
)
_DROPPED = re.compile(r"[\s${}\\().,;:?!]")

_LATEX_SPACE = re.compile(r"\\(?:left|right|displaystyle|qquad|quad)(?![a-zA-Z])|\\[,;:!> ()\[\]]|[~$\s]|(?<=\\)[dt](?=frac)")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_SHORT_FRACTION = re.compile(r"\\frac(\d)(\d)")
_WRAPPER = re.compile(r"\\(?:boxed|text|textbf|mathrm|mathbf)\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}")
_UNIT = re.compile(r"(?<=[\d}])(?:\\(?:text|mathrm|mbox)\{[^{}]*\}|\^\\circ|\^\{\\circ\}|°|\\?%)(?:\^\{?\d\}?)?$")
_NAME = re.compile(r"^[A-Za-z]=")
_FRACTION = re.compile(r"(-?)\\frac\{(-?\d{1,50})\}\{(\d{1,50})\}|(-?\d{1,50})/(\d{1,50})")
_DECIMAL = re.compile(r"-?(?:\d{1,50}(?:\.\d{0,50})?|\.\d{1,50})")


def normalise_problem(text: str) -> str:
    r"""The problem in NFKC and lower case without layout: LaTeX size and spacing commands, white space, `$ { } \ ( ) . , ; : ? !`.

    Letters, digits and operators stay, so `\frac{1}{2}` becomes `frac12`. Two problems that differ only in a parenthesis, a
    brace or a decimal point become one. Empty when the text has nothing else.
    """
    return _DROPPED.sub("", _LAYOUT.sub("", unicodedata.normalize("NFKC", text).lower()))


def problem_key(text: str) -> str:
    """What tells problems apart: the normalised text, or the bare text where nothing is left of it."""
    return normalise_problem(text) or "".join(text.split())


def normalise_answer(text: str) -> str:
    """The answer without its formatting: two answers with the same result differ in notation only.

    Forgives math delimiters, spaces, a box, `\\dfrac` for `\\frac`, a name in front (`n=6`), thousands separators, units,
    percent and degree signs behind a number, leading and trailing zeros; whole numbers, decimals and simple fractions become
    one exact fraction (`1.50` and `\\frac{3}{2}` give `3/2`). Knows no algebra: `\\sqrt{40}` and `2\\sqrt{10}` stay apart.
    """
    bare = unicodedata.normalize("NFC", text).replace("\\\\", "\\").replace("\\$", "")
    bare = _LATEX_SPACE.sub("", _THOUSANDS.sub("", bare))
    if (wrapped := _WRAPPER.fullmatch(bare)) is not None:
        bare = wrapped.group(1)
    bare = _NAME.sub("", bare.rstrip("."))
    bare = _UNIT.sub("", bare)
    bare = _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", bare)
    number = _as_fraction(bare)
    return bare if number is None else str(number)


def _as_fraction(text: str) -> Fraction | None:
    if _DECIMAL.fullmatch(text):
        return Fraction(text)
    match = _FRACTION.fullmatch(text)
    if match is None:
        return None
    sign, latex_top, latex_bottom, top, bottom = match.groups()
    divisor = int(latex_bottom or bottom)
    if divisor == 0:
        return None
    return Fraction(int(latex_top or top), divisor) * (-1 if sign else 1)
