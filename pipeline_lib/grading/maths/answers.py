r"""An answer parsed whole into its types.

`read` gives every type that a text is from end to end: `3,5` is a list and a decimal comma, `A` a choice and a variable. What is none
of them is a text, which equals only itself. Nothing is dropped to make a text fit.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from pipeline_lib.grading.maths.answer_types import (
    Assignments,
    Chain,
    Choice,
    Items,
    Matrix,
    Named,
    Readings,
    Relation,
    Text,
    Union,
)
from pipeline_lib.grading.maths.atoms import (
    EMPTY,
    letter_of,
    read_arc,
    read_based,
    read_choices,
    read_clock,
    read_date,
    read_quantity,
    read_ratio,
    read_text,
    read_value,
    read_word,
    units_or_variables,
)
from pipeline_lib.grading.maths.expressions import parse_expression
from pipeline_lib.grading.maths.intervals import interval, united
from pipeline_lib.grading.maths.lead_words import is_lead
from pipeline_lib.grading.maths.lexer import CLOSING, COMMON_WORDS, Token, Tokens, lex
from pipeline_lib.grading.maths.matrices import Environments, read_vector, transposed_vector
from pipeline_lib.grading.maths.named_values import lead_of
from pipeline_lib.grading.maths.relations import congruence, family, is_constant, name_of, named_items, related
from pipeline_lib.grading.maths.splitting import (
    MOST_ITEMS,
    adjacent_points,
    closing,
    comma_variants,
    split,
    trimmed,
)
from pipeline_lib.grading.maths.together import integer_condition, said_twice, summed, without_domains, without_quantifier

_RELATIONS = {
    "=": "=", "<": "<", ">": ">", "\\leq": "<=", "\\geq": ">=", "\\neq": "!=", "\\approx": "~", "≈": "~", "\\equiv": "\\equiv",
    "\\in": "\\in", "\\notin": "\\notin", "\\subset": "\\subset", "\\subseteq": "\\subseteq", "\\to": "\\to", "\\sim": "\\sim",
    "\\cong": "\\cong", "\\parallel": "\\parallel", "\\perp": "\\perp", "\\propto": "\\propto", "\\iff": "\\iff",
    "\\cap": "\\cap", "\\setminus": "\\setminus", "\\mapsto": "\\to",
}  # fmt: skip
_FLIPPED = {">": "<", ">=": "<="}
_JOINTS = frozenset((";", "\\\\", ",", "or", "OR", "\\or", "and", "AND", "\\and", "for", "where", "\\forall", "\\in"))
_NO_TEXT = frozenset(("^", "_", "!", "'", "=", "<", ">", "/", "|", "\\cdot", "\\cup", "\\cap", "+"))
_COPULAS = frozenset(("is", "are", "equals", "=", ":", "be"))


@lru_cache(maxsize=65_536)
def read(text: str) -> Readings:
    """Every type that the text is from end to end; one Text when it is none of them."""
    tokens = lex(text)
    if tokens is None:
        return (Text((text,)),)
    try:
        return tuple(dict.fromkeys(answer for variant in comma_variants(tokens) for answer in whole(variant)))
    except RecursionError:  # a chain of hundreds of letters is no answer
        return (Text((text,)),)


@lru_cache(maxsize=16_384)
def whole(tokens: Tokens) -> Readings:
    """Every type that the tokens are from end to end; empty for no tokens."""
    braced = bool(tokens) and tokens[0].text == "{"
    given, tokens = tokens, trimmed(tokens)
    if not tokens:
        return (Text(tuple(token.text for token in given)),) if given else ()
    if tokens[0].text == "<" and tokens[-1].text == ">":
        # A vector in angle brackets that are signs of comparison.
        tokens = (tokens[0]._replace(text="("), *tokens[1:-1], tokens[-1]._replace(text=")"))
    if named := read_date(tokens) or read_word(tokens):
        return named
    for read_structure in _STRUCTURES:
        answer = read_structure(tokens)
        if answer is not None:
            is_list = isinstance(answer[0], Items) and answer[0].kind == "list" and not answer[0].ends
            # Braces that TeX does not print: brackets of some kind.
            return (replace(answer[0], ends="{}"),) if braced and is_list and isinstance(answer[0], Items) else answer
    if len(tokens) == 1 and tokens[0].text in COMMON_WORDS:
        return read_text(tokens)
    readings = units_or_variables(tokens, [answer for reader in _ATOMS for answer in reader(tokens)])
    # A word may be a product of letters.
    if not readings or (len(tokens) == 1 and tokens[0].kind == "word" and len(tokens[0].text) > 1):
        readings += read_text(tokens)
    return tuple(readings)


def _list(tokens: Tokens) -> Readings | None:
    """Items between commas, semicolons, "and", "or"; semicolons part before the rest, and "or" before a comma that is none of its."""
    if _JOINTS.isdisjoint(token.text for token in tokens):
        return None
    condition = next((place for place in range(1, len(tokens)) if tokens[place].text == "("), 0)
    is_last = bool(condition) and tokens[-1].text == ")" and closing(tokens, condition) == len(tokens) - 1
    if is_last and any(token.text == "\\in" for token in tokens[condition:]):
        return _listed([tokens[:condition], tokens[condition + 1 : -1]])
    count, tokens = len(tokens), without_quantifier(tokens)
    for separators in ((";", "\\\\"), ("or", "\\or"), (",", "and", "or", "\\and", "\\or", "for", "where")):
        parts = split(tokens, lambda token, separators=separators: _separator(token) in separators)  # type: ignore[misc]
        if len(parts) == 1:
            continue
        nested = any(len(split(part, lambda token: token.text in (",", "and"))) > 1 for part in parts)
        if "or" in separators[:1] and (any(part and part[-1].text == "," for part in parts) or not nested):
            continue
        is_or = any(_separator(token) in ("or", "\\or") for token in tokens)
        if len(parts) == 2 and (not parts[0] or not parts[1]):
            return None
        return _listed([part for part in parts if part], is_or)
    return None if len(tokens) == count else whole(tokens)


def _separator(token: Token) -> str:
    return "" if token.kind == "number" else token.text.lower() if token.text in ("OR", "AND") else token.text


def _listed(parts: list[Tokens], is_or: bool = False) -> Readings | None:
    if not 0 < len(parts) <= MOST_ITEMS:
        return None
    if len(parts) == 1:
        return whole(parts[0])
    items: list[Readings] = []
    for part in parts:
        readings = integer_condition(part) or whole(part)
        if not readings:
            return None
        first = readings[0]
        if isinstance(first, Items) and first.kind == "list" and first.ends == "±":
            items += first.items
        else:
            items.append(readings)
    items = without_domains(items)
    if len(items) == 1:
        return items[0]
    parametrised = family(items)
    if parametrised is not None:
        return (parametrised,)
    named = [readings[0] for readings in items]
    # Of numbers "or" lists all, of words and letters it leaves open which.
    is_hedge = is_or and all(isinstance(first, Text | Choice) or getattr(first, "tree", "n")[0] == "s" for first in named)
    listed = Items("list", tuple(items), "dots" if _has_dots(items) else "or" * is_hedge)
    return named_items(named, items, is_or) or (listed, *(said_twice(items) if is_or else summed(items)))


def _has_dots(items: list[Readings]) -> bool:
    return any(readings == (Text(("\\ldots",)),) for readings in items)


def _split_relation(tokens: Tokens) -> bool:
    return len(split(tokens, lambda token: token.text in _RELATIONS)) > 1


def _relation(tokens: Tokens) -> Readings | None:
    residues = congruence(tokens, whole)
    if residues is not None:
        return (residues,)
    parts = split(tokens, lambda token: token.text in _RELATIONS)
    if len(parts) == 1:
        return _labelled(tokens)
    if not all(parts):
        return None
    signs, place = [], -1
    for part in parts[:-1]:
        place += len(part) + 1
        signs.append(_RELATIONS[tokens[place].text])
    terms = [whole(part) for part in parts]
    is_named = not terms[0] or is_constant(terms[0][0]) or name_of(terms[0])[0] is not None
    lead = None if is_named or any(sign not in ("=", "~") for sign in signs) else lead_of(parts[0])
    if lead is not None:
        terms[0] = (Text((lead,)),)
    if not all(terms) or any(isinstance(term[0], Relation | Named | Chain) for term in terms):
        return None
    if all(sign in _FLIPPED for sign in signs):
        terms, signs = terms[::-1], [_FLIPPED[sign] for sign in reversed(signs)]
    return related(Relation(tuple(terms), tuple(signs)), lead)


def _labelled(tokens: Tokens) -> Readings | None:
    """Words, "is" or a colon, and an answer: \\text{The answer is } 12."""
    for index, token in enumerate(tokens[:12]):
        if token.text in _COPULAS and index and index + 1 < len(tokens):
            words = tokens[:index]
            if token.kind == "word" and index == 1 and len(words[0].text) == 1 and words[0].text not in "AI":
                return _relation((*words, Token("sign", "="), *tokens[2:]))
            if any(word.kind != "word" for word in words) or not is_lead([word.text for word in words]):
                return None
            value = whole(tokens[index + 1 :])
            return None if isinstance(value[0], Text) and len(tokens) > index + 2 else (Named(None, value),)
        if token.kind != "word":
            return None
    return None


def _union(tokens: Tokens) -> Readings | None:
    def is_cup(token: Token) -> bool:
        return token.text in ("\\cup", "U") and not (token.text == "U" and not token.spaced and len(tokens) < 4)

    parts = split(tokens, is_cup)
    if len(parts) == 1 or not all(parts) or (any(token.text == "U" for token in tokens) and parts[0][-1].text not in CLOSING):
        return None
    found = tuple(whole(part) for part in parts)
    return (united(found) or Union(found),)


def _bracketed(tokens: Tokens) -> Readings | None:
    """Tuples, intervals, sets, sets described by a condition, matrices as rows of rows; a bracket around one thing groups."""
    first, last = tokens[0].text, tokens[-1].text
    if len(tokens) < 2:
        return None
    if first == "]" or (first == "[" and last == "["):
        inner = tokens[1:-1]
        if last in ("[", "]") and not any(token.text in ("[", "]") for token in inner):
            ends = ("(" if first == "]" else "[") + (")" if last == "[" else "]")
            parts = split(inner, lambda token: token.text in (",", ";"))
            return (interval(ends, whole(parts[0]), whole(parts[1])),) if len(parts) == 2 and all(parts) else None
    if first not in ("(", "[", "\\{"):
        return None
    if last not in CLOSING or closing(tokens, 0) != len(tokens) - 1:
        if (vector := transposed_vector(tokens)) is None:
            return _listed(points) if (points := adjacent_points(tokens)) else None
        column = whole(vector)[0]
        return (Matrix(tuple((item,) for item in column.items)),) if isinstance(column, Items) else None
    inner = tokens[1:-1]
    if not inner:
        return (EMPTY,) if first == "\\{" else None
    if first == "\\{":
        return _set(inner)
    separator = ";" if any(token.text == ";" for token in inner) else ","
    parts = split(inner, lambda token: token.text == separator)
    if len(parts) == 1:
        # (5) and [5] group; a lone choice letter in brackets is read as such.
        return None if not _groups(inner) else whole(inner)
    if not all(parts) or len(parts) > MOST_ITEMS or "\\}" in (first, last):
        return None
    items = tuple(whole(part) for part in parts)
    if first == "[" and all(isinstance(item[0], Items) and item[0].ends[:1] == "[" for item in items):
        return (Matrix(tuple(item[0].items for item in items if isinstance(item[0], Items))),)
    if len(items) == 2 and first + last != "()":
        return (Items("interval", items, first + last),)
    return (Items("tuple", items, first + last),)


def _groups(inner: Tokens) -> bool:
    """Whether the content of brackets is an answer of its own that is not simply an expression or a choice."""
    return not (len(inner) == 1 and inner[0].kind == "word") and parse_expression(inner) is None


def _set(inner: Tokens) -> Readings | None:
    for sign in (":", "|"):
        parts = split(inner, lambda token, sign=sign: token.text == sign)  # type: ignore[misc]
        if len(parts) > 1 and parts[0] and (sign == ":" or len(parts) == 2):
            described = whole(inner[len(parts[0]) + 1 :])
            over = whole(parts[0])[0]
            name = over.name if isinstance(over, Named) else name_of(whole(parts[0]))[0]
            if described and isinstance(described[0], Named) and (over_all := family([whole(parts[0]), described])) is not None:
                return (over_all,)
            known = bool(described) and isinstance(described[0], Named) and described[0].name == name
            return described[0].value if known and isinstance(described[0], Named) else None
    parts = split(inner, lambda token: token.text in (",", ";"))
    if not all(parts) or len(parts) > MOST_ITEMS:
        return None
    listed = _listed(parts) if len(parts) > 1 else None
    items = tuple(whole(part) for part in parts)
    if len(items) == 1 and isinstance(items[0][0], Items) and items[0][0].ends == "±":
        return (Items("set", items[0][0].items),)
    if listed is not None and isinstance(listed[0], Assignments):
        return listed
    if listed is not None and isinstance(listed[0], Items):
        return (Items("set", listed[0].items, listed[0].ends),)
    return (Items("set", items),)


_STRUCTURES: tuple[Callable[[Tokens], Readings | None], ...] = (
    Environments(whole, lambda lines: _listed(lines), _split_relation).read,
    _list,
    _relation,
    _union,
    _bracketed,
)


def _choice(tokens: Tokens) -> Readings:
    if tokens[0].text.lower() in ("option", "choice", "answer") and len(tokens) > 1:
        tokens = tokens[2:] if tokens[1].text == ":" else tokens[1:]
    opened, letter = tokens[0].text == "(", letter_of(tokens)
    behind = tokens[2:] if opened else tokens[1:]
    if not letter or not behind:
        return () if opened or not letter else (Choice(letter),)
    is_marked = behind[0].text in (")", ".", ":")
    rest = behind[1:] if is_marked else behind
    # A hedge, (A) B, or (A) (B) and more; or no text at all, as in (A)^2.
    if (
        rest
        and (rest[0].text in _NO_TEXT or rest[0].text == "(" or any(isinstance(answer, Choice) for answer in whole(rest)))
        and letter_of(rest)
    ):
        return ()
    is_name = len(rest) == 1 and not opened and rest[0].kind == "word" and rest[0].text.istitle() and len(rest[0].text) > 1
    is_text = is_marked and (not opened or behind[0].text == ")") and (not rest or rest[0].text not in _NO_TEXT)
    return (Choice(letter, whole(rest)),) if is_text or (is_name and not is_marked) else ()


def _point(tokens: Tokens) -> Readings:
    """A(1, 2): a point with its name."""
    if len(tokens) < 6 or tokens[1].text != "(" or closing(tokens, 1) != len(tokens) - 1 or not letter_of(tokens[:1]):
        return ()
    value = whole(tokens[1:])
    return (Named(tokens[0].text, value),) if isinstance(value[0], Items) and value[0].ends == "()" else ()


_ATOMS: tuple[Callable[[Tokens], Readings], ...] = (
    _choice, read_choices, _point, read_vector, read_based, read_clock, read_ratio, read_arc, read_quantity, read_value,
)  # fmt: skip
