r"""The shape of a normalised answer: lists, tuples, intervals, sets, unions, matrices, chains of relations."""

import re
from dataclasses import dataclass
from functools import lru_cache

from pipeline_lib.grading.maths.normal_form import closes_at_end

MOST_ITEMS = 64

_MATRIX = re.compile(r"\\begin\{([pbvBV]?matrix|smallmatrix|array)\}(?:\{[clr| ]*\})?(.*)\\end\{\1\}", re.DOTALL)
_RELATION = re.compile(r"\\leq(?![a-z])|\\geq(?![a-z])|\\neq(?![a-z])|\\approx(?![a-z])|\\equiv(?![a-z])|\\in(?![a-z])|<|>|=")
_FRENCH_INTERVAL = re.compile(r"([\[\]])([^\[\]]+)([\[\]])")
_FLIPPED = {">": "<", "\\geq": "\\leq"}
_INTERVAL_ENDS = {"<": "()", "\\leq": "[]"}


@dataclass(frozen=True, slots=True)
class Bracketed:
    """Items in brackets: kind "()", "[]", "(]", "[)" or "{}"."""

    kind: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Relation:
    r"""Terms and what stands between them, such as 0 < x \leq 5; ">" has been turned around."""

    terms: tuple[str, ...]
    signs: tuple[str, ...]

    @property
    def is_equation(self) -> bool:
        return all(sign == "=" for sign in self.signs)

    @property
    def is_inequality(self) -> bool:
        return all(sign in _INTERVAL_ENDS for sign in self.signs)


def _top_level(text: str) -> list[tuple[int, str]]:
    r"""Position and character of everything outside brackets and environments; commands count as their backslash."""
    found = []
    depth = 0
    position = 0
    while position < len(text):
        character = text[position]
        step = 1
        if character == "\\":
            if text.startswith("\\begin{", position):
                depth += 1
            elif text.startswith("\\end{", position):
                depth -= 1
            following = text[position + 1 : position + 2]
            if following in ("{", "}"):
                depth += 1 if following == "{" else -1
                step = 2
            elif following == "\\":
                step = 2
            elif depth == 0:
                found.append((position, character))
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif depth == 0:
            found.append((position, character))
        position += step
    return found


@lru_cache(maxsize=16_384)
def split_items(text: str) -> tuple[str, ...]:
    r"""The items of a list separated by commas or semicolons outside brackets; \pm gives one item for each sign."""
    items = []
    start = 0
    for position, character in _top_level(text):
        if character in ",;":
            items.append(text[start:position].strip())
            start = position + 1
    items.append(text[start:].strip())
    expanded: list[str] = []
    for item in items:
        if item and "\\pm" in item:
            expanded += [_with_sign(item, "+", "-"), _with_sign(item, "-", "+")]
        elif item:
            expanded.append(item)
    return tuple(expanded)


def _with_sign(item: str, plus_minus: str, minus_plus: str) -> str:
    signed = item.replace("\\pm", plus_minus).replace("\\mp", minus_plus)
    # A sign in front of a positive term is no sign.
    return re.sub(r"(^|[=(,{])\+", r"\1", signed).replace("+ ", "+").replace("- ", "-")


@lru_cache(maxsize=16_384)
def read_bracketed(text: str) -> Bracketed | None:
    """The items of a text that is one pair of brackets from end to end; None for anything else. ]a,b] is (a,b]."""
    if text.startswith("\\{") and text.endswith("\\}") and _spans(text):
        inner = text[2:-2]
        return Bracketed("{}", split_items(inner)) if not re.search(r"\\mid|\||:", inner) else None
    french = _FRENCH_INTERVAL.fullmatch(text)
    if french is not None and (french[1] == "]" or french[3] == "["):
        kind = ("(" if french[1] == "]" else "[") + (")" if french[3] == "[" else "]")
        return Bracketed(kind, split_items(french[2]))
    if len(text) < 2 or text[0] not in "([" or text[-1] not in ")]" or not _spans(text):
        return None
    return Bracketed(text[0] + text[-1], split_items(text[1:-1]))


def _spans(text: str) -> bool:
    """Whether the bracket that opens the text closes at its very end."""
    return not _top_level(text) and closes_at_end(text, 0)


@lru_cache(maxsize=16_384)
def read_relation(text: str) -> Relation | None:
    """The chain of relations of a text; None without one. All of a chain's inequalities point the same way, else None."""
    if not _RELATION.search(text):
        return None
    outside = {position for position, _ in _top_level(text)}
    terms, signs = [], []
    start = 0
    for match in _RELATION.finditer(text):
        if match.start() in outside:
            terms.append(text[start : match.start()].strip())
            signs.append(match[0])
            start = match.end()
    if not signs:
        return None
    terms.append(text[start:].strip())
    if not all(terms):
        return None
    if all(sign in (">", "\\geq") for sign in signs):
        return Relation(tuple(reversed(terms)), tuple(_FLIPPED[sign] for sign in reversed(signs)))
    return Relation(tuple(terms), tuple(signs))


def as_interval(relation: Relation) -> tuple[str, Bracketed] | None:
    r"""The variable and the interval of an inequality such as 0 < x \leq 5 or x < 2; None for any other relation."""
    if not relation.is_inequality:
        return None
    terms, signs = relation.terms, relation.signs
    if len(terms) == 3 and is_name(terms[1]):
        return terms[1], Bracketed(_INTERVAL_ENDS[signs[0]][0] + _INTERVAL_ENDS[signs[1]][1], (terms[0], terms[2]))
    if len(terms) == 2 and is_name(terms[0]) and not is_name(terms[1]):
        return terms[0], Bracketed("(" + _INTERVAL_ENDS[signs[0]][1], ("-\\infty", terms[1]))
    if len(terms) == 2 and is_name(terms[1]) and not is_name(terms[0]):
        return terms[1], Bracketed(_INTERVAL_ENDS[signs[0]][0] + ")", (terms[0], "\\infty"))
    return None


def as_union(items: tuple[str, ...]) -> str | None:
    r"""Alternatives such as x < 1, x \geq 5 as a union of intervals; None unless all are inequalities in one variable."""
    intervals = [as_interval(relation) if (relation := read_relation(item)) is not None else None for item in items]
    known = [interval for interval in intervals if interval is not None]
    if len(known) < len(items) or len({variable for variable, _ in known}) != 1:
        return None
    return "\\cup".join(f"{bracket.kind[0]}{','.join(bracket.items)}{bracket.kind[1]}" for _, bracket in known)


def split_union(text: str) -> tuple[str, ...]:
    r"""The parts of a union, split at \cup outside brackets."""
    parts = []
    start = 0
    for position, _ in _top_level(text):
        if text.startswith("\\cup", position):
            parts.append(text[start:position].strip())
            start = position + 4
    parts.append(text[start:].strip())
    return tuple(parts)


@lru_cache(maxsize=4096)
def read_matrix(text: str) -> tuple[tuple[str, ...], ...] | None:
    """The cells of a matrix, row by row, whatever its brackets; None for anything else. Determinant bars are not brackets."""
    while len(text) > 2 and text[0] in "([" and text[-1] in ")]" and text.startswith("\\begin{", 1):
        text = text[1:-1].strip()
    match = _MATRIX.fullmatch(text)
    if match is None or match[1] in ("vmatrix", "Vmatrix") or "\\begin" in match[2]:
        return None
    body = re.sub(r"\\hline", "", match[2]).strip().removesuffix("\\\\")
    return tuple(tuple(cell.strip() for cell in row.split("&")) for row in body.split("\\\\"))


_NAME_NOISE = re.compile(
    r"_\{[^{}]*\}|_\w|'|\\(?:angle|triangle|overline|vec|text|frac|left|right|prime|min|max|sin|cos|tan)\b|[{}|]"
)
_NAME = re.compile(r"(?:\\[a-zA-Z]+ ?|[a-zA-Z])+(?:\([a-zA-Z0-9,;\\ +-]*\))?|\((?:[a-zA-Z]|\\[a-z]+|[,; ])+\)")


@lru_cache(maxsize=16_384)
def is_name(text: str) -> bool:
    r"""Whether the text only names something: x, a_n, f(x), (p,q), \angle APC, \frac{NO}{BO}; not 2x or x^2."""
    if not text or len(text) > 80:
        return False
    return bool(_NAME.fullmatch(_NAME_NOISE.sub("", text).strip())) and text not in ("\\infty", "\\pi", "e", "i")
