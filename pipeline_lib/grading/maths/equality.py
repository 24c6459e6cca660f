"""Whether numbers, trees and approximations are equal, or the question about them that is left for the workers."""

from fractions import Fraction

from pipeline_lib.grading.maths.answer_types import Answer, Expression, Items, Named, Number, Quantity, Readings
from pipeline_lib.grading.maths.nodes import Node
from pipeline_lib.grading.maths.trees import IMAGINARY, BeyondComputing, Tree, holds_constant, rational_value, renamed, symbols

# Two decimals are equal when they differ by no more than this, absolutely (OlympiadBench's judge) and relative to the gold one.
DECIMAL_TOLERANCE = Fraction(1, 10**8)
# A rounded decimal stands for an exact value when it shows at least so many decimals and significant digits.
LEAST_ROUNDED_DIGITS = 4
_VOWELS, _USUAL = frozenset("eiouEIOU"), frozenset("abcxyz")
_INFINITE: frozenset[Tree] = frozenset((("c", "oo"), ("*", ("n", "-1"), ("c", "oo"))))


def is_rounding(shown: Number, difference: Fraction, exact: Number) -> bool:
    """Whether a decimal with enough digits is the correct rounding of a value that is not itself given as a decimal."""
    if shown.decimals is None or shown.significant is None or exact.decimals is not None:
        return False
    if shown.decimals < LEAST_ROUNDED_DIGITS or shown.significant < LEAST_ROUNDED_DIGITS:
        return False
    return difference <= Fraction(1, 2 * 10**shown.decimals)


def times(amount: Number | Expression, factor: Fraction) -> Number | Expression:
    tree: Tree = ("*", amount.tree, ("n", str(factor)))
    return Number(amount.value * factor, tree, amount.decimals) if isinstance(amount, Number) else Expression(tree)


def tree_of(readings: Readings) -> Tree | None:
    return next((answer.tree for answer in readings if isinstance(answer, Number | Expression)), None)


def exact_of(tree: Tree) -> Fraction | None:
    try:
        return rational_value(tree)
    except (BeyondComputing, ZeroDivisionError):
        return None


def equal(gold: Tree, answer: Tree) -> Node:
    """Whether two trees have the same value; a question unless that is plain."""
    if gold == answer and "latex" not in (gold[0], answer[0]):
        return checked(True, [gold], [answer])
    values = [exact_of(tree) for tree in (gold, answer)]
    if None not in values:
        return values[0] == values[1]
    if any(value is not None and _is_monomial(tree) for value, tree in zip(values, (answer, gold), strict=True)):
        return False
    bare = [tree[0] in ("s", "n") or tree in _INFINITE for tree in (gold, answer)]
    gold, answer = unified([gold, answer])
    if all(bare):
        return gold == answer
    names, others = factors(gold), factors(answer)
    if names and others and sorted(names) == sorted(others):
        return names == others or not _spell_a_word(names)
    return checked(["equal", gold, answer], [gold], [answer])


def _is_monomial(tree: Tree) -> bool:
    """Whether a tree is a product with a variable, which no number equals."""
    return tree[0] == "s" or (
        tree[0] == "*" and any(map(_is_monomial, tree[1:])) and all(part[0] in "sn*" for part in tree[1:])
    )


def checked(node: Node, golds: list[Tree], answers: list[Tree]) -> Node:
    """The node, or "beyond" and "undefined" where a part of a tree has no value that can be computed."""
    for trees, undefined in ((golds, ["undefined"]), (answers, False)):
        for tree in trees:
            try:
                rational_value(tree)
            except BeyondComputing:
                return ["beyond"]
            except ZeroDivisionError:
                return undefined
    return node


def factors(tree: Tree) -> list[str]:
    """The names that are multiplied in a product of names and nothing else, in their order; none for another tree."""
    if tree[0] in ("s", "c"):
        return [str(tree[1])]
    parts = [factors(part) for part in tree[1:]] if tree[0] == "*" else [[]]
    return [name for part in parts for name in part] if all(parts) else []


def _spell_a_word(names: list[str]) -> bool:
    """Whether letters in a row may be a word or a name, whose order counts: red is not der, NE not EN, though xy is yx."""
    word = "".join(names)
    if len(word) > len(names) or not word.isascii():
        return False
    return word.isupper() or bool(_VOWELS.intersection(word)) or ("a" in word and len(word) > 2 and not set(word) <= _USUAL)


def unified(trees: list[Tree]) -> list[Tree]:
    """N is n, and a constant of integration C is c, where gold answer and prediction use either in one case only, each in another."""
    half = len(trees) // 2
    golds, answers = (set().union(*(symbols(tree) for tree in side)) for side in (trees[:half], trees[half:]))
    names = {}
    for name in answers - golds:
        other = name.swapcase()
        if other in golds and other not in answers and (name in "nN" or (name in "cC" and _is_added(name, other, trees))):
            names[name] = other
    # Engineers and computers write j or I for the imaginary unit.
    sums = [[tree for tree in side if tree[0] == "+"] for side in (trees[:half], trees[half:])]
    imaginary = [any(holds_constant(tree, "i") for tree in side) for side in sums]
    if (
        all(sums)
        and imaginary[0] != imaginary[1]
        and len(letters := {"j", "I"} & (answers - golds if imaginary[0] else golds - answers)) == 1
    ):
        name = letters.pop()
        if not imaginary[0]:
            return unified([*(renamed(tree, {name: IMAGINARY}) for tree in trees[:half]), *trees[half:]])
        names[name] = IMAGINARY
    return [*trees[:half], *(renamed(tree, names) for tree in trees[half:])] if names else trees


def _is_added(name: str, other: str, trees: list[Tree]) -> bool:
    return all(tree[0] == "+" and (("s", name) in tree or ("s", other) in tree) for tree in trees)


def near(one: Readings, other: Readings) -> Node:
    r"""Whether what stands behind \approx is a rounding of what stands before it, to the digits it shows, or a rounded decimal of a value
    that is exact; two decimals or more may also be cut, or rounded on the way.
    """
    numbers = [
        next((answer for answer in side if isinstance(answer, Number | Expression | Quantity)), None) for side in (one, other)
    ]
    exact, shown = (side.amount if isinstance(side, Quantity) else side for side in numbers)
    # 0.33 \approx \frac13 rounds backwards; 5 \approx 5.4 does not round.
    if isinstance(exact, Number) and exact.decimals and not (isinstance(shown, Number) and shown.tree[0] == "n"):
        exact, shown = shown, exact
    # To round to nothing would stand for anything small.
    if exact is None or not isinstance(shown, Number) or shown.value == 0:
        return False
    decimals = shown.decimals or 0
    error = Fraction(15 if decimals > 1 else 5, 10 ** (decimals + 1))
    if not isinstance(exact, Number):
        return checked(["near", exact.tree, str(shown.value), str(error)], [exact.tree], [])
    if exact.tree[0] == "n" and len(str(exact.tree[1]).partition(".")[2]) < decimals:
        return exact.value == shown.value
    return abs(shown.value - exact.value) <= error


def rename(readings: Readings, names: dict[str, str]) -> Readings:
    changed: list[Answer] = []
    for answer in readings:
        if isinstance(answer, Expression):
            changed.append(Expression(renamed(answer.tree, names)))
        elif isinstance(answer, Items):
            changed.append(Items(answer.kind, tuple(rename(item, names) for item in answer.items), answer.ends))
        elif isinstance(answer, Named):
            changed.append(Named(answer.name, rename(answer.value, names), answer.compound))
        else:
            changed.append(answer)
    return tuple(changed)
