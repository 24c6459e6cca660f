r"""Where the right answer first stands in a response, by a search for the ways in which it is commonly written.

A number of three digits or more, or an expression of five characters or more, that the problem does not hold counts wherever it stands
by itself. Anything shorter, words, and what the problem holds stand in a text for many reasons: they count where they are stated as
a result, behind an equals sign, a verb such as "is" or "gives", a colon, or in a box. A match may be an accident, and then the
first appearance is found too early: what it gives is a lower bound of the tokens that were needed.
"""

import re
from fractions import Fraction
from functools import lru_cache

LONGEST_GOLD = 40
RARE_DIGITS = 3
RARE_CHARACTERS = 5
MOST_WORDS = 4

_WRAPPER = re.compile(r"\\(?:boxed|text|textbf|mathrm|mathbf|operatorname)\s*\{([^{}]*)\}")
_DECORATION = re.compile(
    r"\\[!,;:]|\\left|\\right|\\\s|\^\s*\{?\\circ\}?|°|\$|\\[()\[\]]|(?<![^\W\d_])\s+|\s+(?![^\W\d_])|\\?%$|^\\?\$|\.$"
)
_ASSIGNED = re.compile(r"^[A-Za-z]\w?=(?!=)")
_INTEGER = re.compile(r"([-+−]?)(\d+|\d{1,3}(?:,\d{3})+)")
_DECIMAL = re.compile(r"([-+−]?)(\d*)\.(\d+)")
_FRACTION = re.compile(r"([-+−]?)(?:\\[dt]?frac\{(\d+)\}\{(\d+)\}|(\d+)/(\d+))")
_TOKEN = re.compile(r"\\[A-Za-z]+|\d+|[^\W\d_]+|\S")

_GAP = r"(?:\s|\\[,;:!]|\\left|\\right|\{,\})*"
_MINUS = "[-−]"
# Letters of scripts that put blanks between words: in the others a number may stand right beside a character.
_LETTER = r"[^\W_぀-ヿ㐀-鿿가-힯]"
_INSIDE = re.compile(rf"(?:{_LETTER}|_|\d[.,]|\.|\^\s*\{{?\s*{_MINUS}?|_\{{|\\)$")
_SIGNED = re.compile(rf"(?:^|[=({{\[$:,\s]){_MINUS}\s?$")
_GOES_ON = re.compile(rf"{_LETTER}|[\d_]|[.,]\d|\\?_|\\?\^(?!\s*\{{?\\circ)")
_STATED = re.compile(
    r"""(?:[=≈≡→⇒:：]|\\(?:approx|equiv|implies|to|Rightarrow|rightarrow)\b|\\(?:boxed|fbox)\s*\{|[为是は得]|等于|等於|得到|なので|答え
    |(?<!there\ )(?<!\w)(?:is|are|was|equals?|be|get|gets|gives?|obtain|have|yields?|answer
    |ist|sind|lautet|ergibt|beträgt|est|sont|vaut|donne|es|son|da|é|são|dá
    |è|sono|dà|это|равн[оаы]|равен|получаем|будет))(?:[\s*$({\["'“]|\\[(\[]|\\(?:boxed|text|textbf|mathbf|mathrm)\s*\{)*$""",
    re.IGNORECASE | re.VERBOSE,
)
_CONTINUED = re.compile(
    r"[(!]|\s*(?:[-+−/×·÷<>]|\^(?!\s*\{?\\circ)|\*(?!\*)"
    r"|\\(?:times|cdot|div|frac|dfrac|sqrt|pm|pi|choose|leq?|geq?)\b|\\?%)"
)
REACH = 48


def first_appearance(text: str, gold: str, problem: str = "") -> int | None:
    """The place behind the first appearance of the gold answer in a text; None where it does not appear. See `is_searchable`."""
    patterns, is_rare = _spellings(gold)
    must_be_stated = not is_rare or any(_find(pattern, problem, stated=False) is not None for pattern in patterns)
    ends = [end for pattern in patterns if (end := _find(pattern, text, must_be_stated)) is not None]
    return min(ends, default=None)


def is_searchable(gold: str) -> bool:
    """Whether an answer can be looked for in a text: a number or something as short, not a proof, a program or a description."""
    return bool(_spellings(gold)[0])


def _find(pattern: "re.Pattern[str]", text: str, stated: bool) -> int | None:
    for match in pattern.finditer(text):
        start, end = match.span()
        before = max(0, start - REACH)
        if _INSIDE.search(text, before, start) or _GOES_ON.match(text, end):
            continue
        if text[start] not in "-−" and _SIGNED.search(text, before, start):
            continue
        if not stated or (_STATED.search(text, before, start) and not _CONTINUED.match(text, end)):
            return end
    return None


@lru_cache(maxsize=4096)
def _spellings(gold: str) -> tuple[tuple["re.Pattern[str]", ...], bool]:
    """The ways in which an answer is written, and whether it is so rare that no other reason puts it into a text."""
    text = gold.strip()
    while (plain := _WRAPPER.sub(r"\1", text)) != text:
        text = plain
    text = _ASSIGNED.sub("", _DECORATION.sub("", text))
    if not text or len(text) > LONGEST_GOLD or text.count(" ") >= MOST_WORDS:
        return (), False
    if number := _INTEGER.fullmatch(text):
        digits = number[2].replace(",", "").lstrip("0") or "0"
        patterns = [_sign(number[1]) + _grouped(digits) + r"(?:\.0+(?!\d))?"]
    elif number := _DECIMAL.fullmatch(text):
        patterns = [_decimal(number[1], number[2], number[3])]
    elif number := _FRACTION.fullmatch(text):
        patterns = _fraction(number)
    else:
        tokens = [_token(token) for token in _TOKEN.findall(text)]
        patterns = [_GAP.join(tokens)]
    bare = re.sub(r"\\[A-Za-z]+|[{}\s]", "", text)
    is_rare = sum(map(str.isdigit, bare)) >= RARE_DIGITS or (
        len(bare) >= RARE_CHARACTERS and any(character.isdigit() or character in "+-=^(" for character in bare)
    )
    # Words are not told apart by their case; single letters, such as choices and variables, are.
    flags = re.IGNORECASE if re.fullmatch(r"[^\W\d_]{2,}", text) else 0
    return tuple(re.compile(pattern, flags) for pattern in patterns), is_rare


def _sign(sign: str) -> str:
    return _MINUS + r"\s?" if sign in ("-", "−") else ""


def _grouped(digits: str) -> str:
    """Digits with or without a mark between thousands."""
    head = len(digits) % 3 or 3
    groups = [digits[:head], *(digits[at : at + 3] for at in range(head, len(digits), 3))]
    return (r"(?:,|\{,\}|\\,|\s)?").join(groups)


def _decimal(sign: str, whole: str, places: str) -> str:
    places = places.rstrip("0")
    whole = whole.lstrip("0")
    head = _grouped(whole) if whole else "0?"
    return _sign(sign) + head + (rf"\.{places}0*" if places else r"(?:\.0+)?")


def _fraction(number: "re.Match[str]") -> list[str]:
    over, under = number[2] or number[4], number[3] or number[5]
    sign = _sign(number[1])
    patterns = [rf"{sign}\\[dt]?frac\s*\{{?\s*{over}\s*\}}?\s*\{{?\s*{under}\}}?", rf"{sign}{over}\s*/\s*{under}"]
    if int(under):
        value = Fraction(int(over), int(under))
        places = next((places for places in range(1, 5) if (value * 10**places).denominator == 1), None)
        if value.denominator > 1 and places:
            whole, rest = divmod(int(value * 10**places), 10**places)
            patterns.append(_decimal(number[1], str(whole), f"{rest:0{places}d}"))
    return patterns


def _token(token: str) -> str:
    if token in ("\\frac", "\\dfrac", "\\tfrac"):
        return r"\\[dt]?frac"
    return _MINUS if token in "-−" else re.escape(token)
