r"""The trees of expressions, and the exact value of a tree that is a rational number.

A tree is a nested tuple that travels as JSON: ("n", "1/3") a rational number, ("n", "0.25") a decimal as written, ("s", name) a symbol,
("c", "pi") a constant (pi, e, i, oo), ("+", ...), ("*", ...), ("/", a, b), ("^", a, b), ("root", a, n), ("±", a) and ("∓", a) signs,
("f", name, argument, ...) a function, ("latex", text) what only latex2sympy reads: sums, integrals and limits.
"""

import math
import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any

Tree = tuple[Any, ...]

# Python refuses to read longer numbers, rightly: reading takes quadratic time.
MOST_DIGITS = 4000
MOST_BITS = 200_000
LARGEST_ARGUMENT = 5_000
# As the new name of a symbol, the imaginary unit.
IMAGINARY = " i"


class NotWhole(Exception):
    """The tokens are no expression from end to end."""


class BeyondComputing(Exception):
    """A number too large to compute, such as a tower of powers."""


def negative(tree: Tree) -> Tree:
    """The tree with the other sign."""
    if tree[0] == "n":
        return ("n", tree[1][1:] if tree[1].startswith("-") else f"-{tree[1]}")
    return ("*", ("n", "-1"), tree)


def decimal_text(text: str) -> str:
    """A number token as Fraction reads it: European points and commas resolved, repeated digits with dots as a fraction."""
    if len(text) > MOST_DIGITS:
        raise NotWhole
    digits = re.sub(r"\s?(?:\.\.\.|\\[a-z]+)$", "", text)
    if digits != text:
        match = re.fullmatch(r"(\d*\.\d*?)(\d+?)\2+", digits)
        # One digit said twice, or a block of digits said twice.
        return str(repeating_decimal(match[1], match[2])) if match else digits
    if "(" in text:
        whole, _, block = text.partition("(")
        return str(repeating_decimal(whole, block[:-1]))
    if text.count(".") > 1:
        text = text.replace(".", "").replace(",", ".")
    if "e" in text.lower():
        mantissa, _, exponent = text.lower().partition("e")
        if len(exponent) > 6 or abs(int(exponent)) + len(mantissa) > MOST_DIGITS:
            raise NotWhole
        return str(Fraction(mantissa) * Fraction(10) ** int(exponent))
    return text


def repeating_decimal(text: str, block: str) -> Fraction:
    """The value of a decimal whose last digits repeat for ever."""
    whole, _, digits = text.partition(".")
    if not (whole + digits + block).lstrip("-").isdecimal() or len(whole + digits + block) > MOST_DIGITS:
        raise NotWhole
    shift = 10 ** len(digits)
    return Fraction(int((whole or "0") + digits), shift) + Fraction(int(block), shift * (10 ** len(block) - 1))


@lru_cache(maxsize=16_384)
def rational_value(tree: Tree) -> Fraction | None:
    """The exact value of a tree of rational numbers; None for any other.

    Raises BeyondComputing when the value or a part of the tree is too large to compute, ZeroDivisionError for a zero denominator.
    """
    kind = tree[0]
    if kind == "n":
        return Fraction(tree[1])
    if kind in ("s", "c", "latex"):
        return None
    values = [rational_value(part) for part in (tree[2:] if kind == "f" else tree[1:])]
    if kind == "/" and values[1] == 0:
        raise ZeroDivisionError
    if any(value is None for value in values):
        return Fraction(0) if kind == "*" and 0 in values else None
    return _value(tree, [value for value in values if value is not None])


def _value(tree: Tree, values: list[Fraction]) -> Fraction | None:
    kind = tree[0]
    if kind == "+":
        return sum(values, Fraction(0))
    if kind == "*":
        return _bounded(values[0] * values[1])
    if kind == "/":
        return _bounded(values[0] / values[1])
    if kind == "^":
        return _power(*values)
    if kind == "root":
        return _exact_root(*values)
    return _function_value(tree[1], values) if kind == "f" else None


def _bounded(value: Fraction) -> Fraction:
    if value.numerator.bit_length() + value.denominator.bit_length() > 2 * MOST_BITS:
        raise BeyondComputing
    return value


def _power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if base == 0 and exponent < 0:
        raise ZeroDivisionError
    size = base.numerator.bit_length() + base.denominator.bit_length() if abs(base) not in (0, 1) else 0
    if size * abs(exponent) > MOST_BITS or max(exponent.numerator.bit_length(), exponent.denominator.bit_length()) > 64:
        raise BeyondComputing
    if exponent.denominator == 1:
        return Fraction(base) ** int(exponent)
    root = _exact_root(base, Fraction(exponent.denominator)) if base >= 0 else None
    return None if root is None else Fraction(root) ** exponent.numerator


def _exact_root(value: Fraction, index: Fraction) -> Fraction | None:
    """The rational root; an odd root of a negative number is the real one."""
    if index.denominator != 1 or not 0 < index <= LARGEST_ARGUMENT:
        if index > LARGEST_ARGUMENT:
            raise BeyondComputing
        return None
    if value < 0:
        positive = _exact_root(-value, index) if index % 2 else None
        return None if positive is None else -positive
    roots = [_integer_root(number, int(index)) for number in (value.numerator, value.denominator)]
    return None if None in roots else Fraction(roots[0] or 0, roots[1] or 1)


def _integer_root(number: int, index: int) -> int | None:
    if number.bit_length() > 4096:
        return None
    low: int = 0
    high: int = 1 << (number.bit_length() // index + 1)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if int(middle**index) < number else (low, middle)
    return low if int(low**index) == number else None


def _function_value(name: str, values: list[Fraction]) -> Fraction | None:
    first = values[0]
    if name in ("abs", "floor", "ceil", "max", "min"):
        if name in ("max", "min"):
            return max(values) if name == "max" else min(values)
        return abs(first) if name == "abs" else Fraction(math.floor(first) if name == "floor" else math.ceil(first))
    if name in ("ln", "log") and first == 1:
        return Fraction(0)
    if any(value.denominator != 1 for value in values):
        return None
    whole = [int(value) for value in values]
    if name in ("!", "!!", "binom", "permutations") and whole[0] > LARGEST_ARGUMENT:
        raise BeyondComputing
    if name in ("!", "!!") and whole[0] >= 0:
        return Fraction(math.factorial(whole[0]) if name == "!" else math.prod(range(whole[0], 0, -2)))
    if name in ("binom", "permutations") and min(whole) >= 0:
        return Fraction((math.comb if name == "binom" else math.perm)(*whole))
    if name in ("gcd", "lcm"):
        return Fraction((math.gcd if name == "gcd" else math.lcm)(*whole))
    return Fraction(whole[0] % whole[1]) if name == "mod" and whole[1] > 0 else None


def expand_signs(tree: Tree) -> list[Tree]:
    r"""The trees with \pm resolved: signs of several \pm are free of each other, a \mp is the opposite of them all."""
    count = _count_signs(tree, "±")
    if not count and not _count_signs(tree, "∓"):
        return [tree]
    if count > 1 and not _count_signs(tree, "∓") and count <= 3:
        choices = [[bool(number >> place & 1) for place in range(count)] for number in range(2**count)]
    else:
        choices = [[minus] * max(count, 1) for minus in (False, True)]
    return list(dict.fromkeys(_with_signs(tree, iter(choice), choice[0]) for choice in choices))


def _count_signs(tree: Tree, sign: str) -> int:
    return int(tree[0] == sign) + sum(_count_signs(part, sign) for part in tree[1:] if isinstance(part, tuple))


def _with_signs(tree: Tree, choice: Iterator[bool], first: bool) -> Tree:
    if tree[0] in ("±", "∓"):
        minus = next(choice) if tree[0] == "±" else not first
        inner = _with_signs(tree[1], choice, first)
        return negative(inner) if minus else inner
    return (tree[0], *(_with_signs(part, choice, first) if isinstance(part, tuple) else part for part in tree[1:]))


def symbols(tree: Tree) -> set[str]:
    """The names of all free symbols and undetermined functions in a tree."""
    if tree[0] == "s":
        return {str(tree[1])}
    own = {str(tree[1])} if tree[0] == "f" and tree[1].startswith(" ") else {tree[1]} if tree[0] == "latex" else set()
    return own.union(*(symbols(part) for part in tree[1:] if isinstance(part, tuple)))


def renamed(tree: Tree, names: dict[str, str]) -> Tree:
    """The tree with symbols renamed, also to the imaginary unit."""
    if tree[0] == "s":
        name = names.get(tree[1], tree[1])
        return ("c", "i") if name == IMAGINARY else ("s", name)
    return (tree[0], *(renamed(part, names) if isinstance(part, tuple) else part for part in tree[1:]))


def holds_constant(tree: Tree, name: str) -> bool:
    """Whether a constant is part of a tree."""
    return tree == ("c", name) or any(holds_constant(part, name) for part in tree[1:] if isinstance(part, tuple))
