"""Items that say one thing together: conditions in words, domains, one value said twice, hours and minutes."""

import re

from pipeline_lib.grading.maths.answer_types import Chain, Named, Number, Quantity, Readings, Text
from pipeline_lib.grading.maths.atoms import added
from pipeline_lib.grading.maths.intervals import REAL_LINE, is_interval
from pipeline_lib.grading.maths.lexer import Tokens
from pipeline_lib.grading.maths.relations import is_constant
from pipeline_lib.grading.maths.units import conversion

_INTEGER = re.compile(r"(?:any|all|every|each|some)?(?:an)?integers?([a-z])|([a-z])is(?:an|any)?integer")
_QUANTIFIER = re.compile(r"(?:\\forall|for(?:all|any|every|each))(?:real)?(?:numbers?|valuesof)?([a-z])(?:\\in\\mathbb\{R\})?")
_INTEGERS: Readings = (Text(("\\mathbb", "{", "Z", "}")),)


def _joined(tokens: Tokens) -> str:
    return "".join(token.text for token in tokens)


def integer_condition(tokens: Tokens) -> Readings | None:
    """k is an integer, any integer n: as k in the integers."""
    if len(tokens) > 4 or not any(token.text.startswith("integer") for token in tokens):
        return None
    match = _INTEGER.fullmatch(_joined(tokens))
    return (Named(match[1] or match[2], _INTEGERS),) if match else None


def without_quantifier(tokens: Tokens) -> Tokens:
    """A statement about x without "for all x" behind it."""
    for place in range(1, len(tokens)):
        if tokens[place].text in ("for", "\\forall"):
            match = _QUANTIFIER.fullmatch(_joined(tokens[place:]))
            is_stated = any(token.text in ("=", "\\geq", "\\leq", "<", ">", "\\neq") for token in tokens[:place])
            if match and is_stated and any(token.text == match[1] for token in tokens[:place]):
                return tokens[:place]
    return tokens


def without_domains(items: list[Readings]) -> list[Readings]:
    """The items without "x is real" beside f(x) = x."""
    named = {first.name for readings in items if isinstance(first := readings[0], Named) and first.name}
    kept = []
    for readings in items:
        first = readings[0]
        is_real = isinstance(first, Named) and first.value == (REAL_LINE,) and first.name is not None
        # n \\geq 1 beside a_n.
        is_bound = isinstance(first, Named) and first.name and is_interval(first.value[0])
        is_index = is_bound and any(name.endswith(f"_{{{first.name}}}") for name in named)  # type: ignore[union-attr]
        if not is_index and not (is_real and any(f"('s', '{first.name}')" in name for name in named)):  # type: ignore[union-attr]
            kept.append(readings)
    return kept


def said_twice(items: list[Readings]) -> Readings:
    """One number in two forms, a OR b: a chain, which has to be true."""
    if not all(is_constant(readings[0]) for readings in items):
        return ()
    return (Chain(tuple(items), ("=",) * (len(items) - 1)),)


def summed(items: list[Readings]) -> Readings:
    """2 hours and 30 minutes."""
    firsts = [readings[0] for readings in items]
    if len(firsts) != 2 or not isinstance(first := firsts[0], Quantity) or not isinstance(second := firsts[1], Quantity):
        return ()
    factor = None if first.unit == second.unit else conversion(second.unit, first.unit)
    amounts = first.amount, second.amount
    if factor is None or not isinstance(amounts[0], Number) or not isinstance(amounts[1], Number):
        return ()
    is_part = amounts[0].value.denominator == 1 and 0 < amounts[1].value * factor < 1
    return added((first,), (second,)) if is_part else ()
