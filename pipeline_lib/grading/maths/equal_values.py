"""Whether two trees have the same value, by sympy: exactly, or at points. Runs in the workers and imports nothing of this package."""

import functools
import random
import re
from collections.abc import Iterator
from typing import Any

# Digits that decide inequality, and those that two constants must share to be equal.
DIGITS, MANY_DIGITS = 40, 300
POINTS = 8
LEAST_ROUNDED_DIGITS = 4
DECIMAL = re.compile(r"-?(\d*)\.(\d+)")
# By convention these letters are whole numbers: (-1)^{2n} is 1.
WHOLE_NUMBERS = frozenset("nkm")


@functools.lru_cache(maxsize=4096)
def expression(tree: Any) -> Any:
    """The sympy expression of a tree (see expressions.py). Raises ValueError for what cannot be expressed."""
    import sympy

    kind, parts = tree[0], [expression(part) for part in tree[1:] if isinstance(part, tuple)]
    if kind == "n":
        return sympy.Rational(tree[1])
    if kind == "s":
        return sympy.Symbol(tree[1])
    if kind == "c":
        return {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "oo": sympy.oo}[tree[1]]
    if kind == "latex":
        return calculus(tree[1])
    if kind == "root":
        return real_root(*parts)
    if kind == "f":
        return function(tree[1], parts)
    return {"+": lambda: sympy.Add(*parts), "*": lambda: sympy.Mul(*parts), "/": lambda: parts[0] / parts[1],
            "^": lambda: sympy.Pow(*parts)}[kind]()  # fmt: skip


def real_root(value: Any, index: Any) -> Any:
    """The root as it is read at school: of a negative number an odd one is real."""
    import sympy

    if value.is_negative and index.is_odd:
        return -((-value) ** (1 / index))
    return sympy.Pow(value, 1 / index)


def function(name: str, parts: list[Any]) -> Any:
    """A known function of sympy, or an unknown one by its name."""
    import sympy

    if name.startswith(" ") or (name in ("gcd", "lcm") and any(part.free_symbols for part in parts)):
        # Those of polynomials are other functions than those of numbers.
        return sympy.Function(name.strip())(*parts)
    known = {
        "abs": sympy.Abs, "ln": sympy.log,
        "log": sympy.log, "!": sympy.factorial, "!!": sympy.factorial2, "binom": sympy.binomial, "permutations": sympy.ff,
        "mod": sympy.Mod, "ceil": sympy.ceiling, "max": sympy.Max, "min": sympy.Min, "sgn": sympy.sign, "diff": sympy.diff,
    }  # fmt: skip
    return (known.get(name) or getattr(sympy, name.replace("arc", "a")))(*parts)


def calculus(latex: str) -> Any:
    """What math-verify reads in a sum, an integral or a limit, evaluated."""
    import sympy
    from math_verify import LatexExtractionConfig, parse

    parsed = parse(f"\\boxed{{{latex}}}", [LatexExtractionConfig()], parsing_timeout=None)
    if not parsed or isinstance(parsed[0], str):
        raise ValueError(f"{latex} cannot be parsed")
    value = parsed[0].doit()  # of symbols that are real by assumption, and so others than those of the answer beside it
    return value.xreplace({symbol: sympy.Symbol(symbol.name) for symbol in value.free_symbols})


def is_equal(gold: Any, answer: Any, tolerance: float | None) -> bool:
    """Whether two trees have the same value. Raises what the comparison raises."""
    one, other = expression(gold), expression(answer)
    if one == other:
        return True
    if not one.free_symbols and not other.free_symbols and not unknown(one, other):
        return are_equal_constants(gold, answer, one, other, tolerance)
    return vanishes(one, other)


def unknown(*expressions: Any) -> set[Any]:
    """The applications of unknown functions in the expressions."""
    from sympy.core.function import AppliedUndef

    return set().union(*(expression.atoms(AppliedUndef) for expression in expressions))


def are_equal_constants(gold: Any, answer: Any, one: Any, other: Any, tolerance: float | None) -> bool:
    """By their values; a decimal with enough digits is also equal to an exact value that it is a rounding of."""
    import sympy

    difference = sympy.N(one - other, DIGITS, maxn=400)
    if not difference.is_number or difference.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
        return False
    difference = abs(difference)
    if tolerance is not None and difference <= tolerance:
        return True
    for tree, exact in ((gold, answer), (answer, gold)):
        match = DECIMAL.fullmatch(str(tree[1])) if tree[0] == "n" else None
        if match is not None and exact[0] != "n":
            enough = len(match[2]) >= LEAST_ROUNDED_DIGITS and len((match[1] + match[2]).lstrip("0")) >= LEAST_ROUNDED_DIGITS
            if enough and difference <= sympy.Rational(1, 2 * 10 ** len(match[2])):
                return True
    size = max(abs(sympy.N(one, DIGITS)), sympy.Float(10) ** -30)
    return bool(difference <= size * sympy.Float(10) ** (5 - DIGITS)) and not is_provably_nonzero(one - other)


def vanishes(one: Any, other: Any) -> bool:
    """Whether two expressions agree wherever both are real, or wherever they are defined if that is nowhere.

    Values at random points decide; where there are none only what cancels is equal.
    """
    verdicts = [agreement for agreement in compare_values(one, other) if agreement is not None]
    reals = [equal for is_real, equal in verdicts if is_real]
    if len(reals) > 1 or False in reals:
        return all(reals)
    if len(verdicts) > 1:
        return all(equal for _, equal in verdicts)
    import sympy

    return bool(sympy.simplify(one - other) == 0)


def compare_values(one: Any, other: Any) -> Iterator[tuple[bool, bool] | None]:
    """At each of some points whether both values are real (not both 0) and whether they are equal; None where one is not defined."""
    # What is too small for so many digits shows at any point, but for expressions that bend.
    num_exact = POINTS * POINTS if bends(one, other) else 2
    for found in values_at_points(one, other):
        if found is None:
            yield None
            continue
        (first, second), at_point = found
        equal = bool(abs(first - second) <= 1e-25 * max(abs(first), abs(second), 1e-9))
        if equal and num_exact:
            num_exact -= 1
            equal = not is_provably_nonzero(at_point[0] - at_point[1])
        # Two zeros tell little: a factor may vanish there.
        is_real = not first == second == 0 and all(
            abs(value.as_real_imag()[1]) <= 1e-25 * max(abs(value), 1e-9) for value in (first, second)
        )
        yield is_real, equal
        if is_real and not equal:
            return


def is_provably_nonzero(difference: Any) -> bool:
    """Whether a constant is not 0, however small it is beside its terms; False where no number of digits tried tells."""
    import sympy

    if difference.is_Rational:
        return bool(difference != 0)
    literals = max((len(str(number)) for number in difference.atoms(sympy.Rational)), default=0)
    value = sympy.N(difference, 8, maxn=MANY_DIGITS + literals)
    # A float without one certain bit is what remains of terms that cancel.
    return any(part.is_Float and part._prec > 1 and part != 0 for part in value.as_real_imag())


def bends(*expressions: Any) -> bool:
    """Whether an expression follows other laws in other places, so that points nearby do not tell."""
    import sympy

    pieces = (sympy.Abs, sympy.Max, sympy.Min, sympy.floor, sympy.ceiling, sympy.Mod, sympy.sign)
    return any(expression.has(*pieces) for expression in expressions)


def far_sizes(expressions: tuple[Any, ...]) -> list[Any]:
    """Sizes of points at which expressions that bend show it: close to 0, beside their numbers, far beyond them."""
    import sympy

    numbers = sorted({abs(number) for expression in expressions for number in expression.atoms(sympy.Rational)} - {0})
    smallest, largest = (choose([sympy.Integer(1), *numbers]) for choose in (min, max))
    # Just below a whole number a small one may lift it over.
    sizes = [sympy.Rational(1, 1_000_003), 1 - smallest / 2, *(number + sympy.Rational(1, 3) for number in numbers[-6:])]
    sizes += [size * sympy.Rational(10_007, 9_973) for size in (100, 10_000, 10 * largest, 10**13 * largest)]
    powers = set().union(*(expression.atoms(sympy.Pow) for expression in expressions))
    grows = any(expression.has(sympy.factorial, sympy.factorial2, sympy.binomial) for expression in expressions)
    if grows or any(power.exp.free_symbols for power in powers):
        return [size for size in sizes if size < 300]
    return sizes


def values_at_points(*expressions: Any) -> Iterator[tuple[list[Any], list[Any]] | None]:
    """The values of the expressions at random points, the same for all, and the expressions there; None where one is not defined.

    Points are real of both signs, whole for n, k and m; further ones for expressions that bend.
    """
    import sympy

    replaced = {call: sympy.Dummy() for call in sorted(unknown(*expressions), key=str)}
    expressions = tuple(expression.xreplace(replaced) for expression in expressions)
    names = sorted(set().union(*(expression.free_symbols for expression in expressions)), key=str)
    source = random.Random(20)
    sizes = [None] * POINTS + (2 * far_sizes(expressions) if bends(*expressions) else [])
    for number, far in enumerate(sizes):
        point = {}
        for symbol in names:
            positive = number % 2 == 0 or source.random() < 0.4
            whole = str(symbol) in WHOLE_NUMBERS
            if far is not None:
                size = far if len(names) == 1 else far * sympy.Rational(source.randint(1, 1_000), 500)
                size = sympy.ceiling(size) if whole else size
                positive = number - POINTS < len(sizes[POINTS:]) // 2 if len(names) == 1 else source.random() < 0.5
            elif whole:
                size = sympy.Integer(source.randint(2, 9))
            else:
                size = sympy.Rational(source.randint(10_001, 39_999), 10_007)
            point[symbol] = size if positive else -size
        at_point = [expression.subs(point) for expression in expressions]
        values = [sympy.N(expression, DIGITS) for expression in at_point]
        is_known = all(value.is_number and not value.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo) for value in values)
        yield (values, at_point) if is_known and all(value.as_real_imag()[0].is_Number for value in values) else None


def is_near(tree: Any, shown: str, error: str) -> bool:
    """Whether a value differs by no more than an error from the number that is shown for it."""
    import sympy

    return bool(abs(sympy.N(expression(tree), DIGITS) - sympy.Rational(shown)) <= sympy.Rational(error))


def is_same_relation(sign: str, gold: Any, answer: Any) -> bool:
    """Whether two equations or inequalities are the same up to a constant factor, for inequalities a positive one."""
    import sympy

    sides = [[expression(tree) for tree in pair] for pair in (gold, answer)]
    one, other = (left - right for left, right in sides)
    # A denominator may be negative, which turns an inequality around.
    cleared = [tuple(sympy.fraction(sympy.together(side))[0] for side in (one, other))] if sign in ("=", "!=") else []
    for first, second in ((one, other), *cleared):
        found = [both for both in values_at_points(first, second) if both is not None and 0 not in both[0]]
        ratios = [values[0] / values[1] for values, _ in found]
        if len(ratios) > 2 and all(abs(ratio - ratios[0]) <= 1e-25 * abs(ratios[0]) for ratio in ratios):
            (_, start), (_, end) = found[0], found[-1]
            if not is_provably_nonzero(start[0] * end[1] - start[1] * end[0]):
                return sign in ("=", "!=") or bool(ratios[0].is_positive)
    return False
