"""Whether numbers, trees and approximations are equal, or the question about them that is left for the workers."""

from fractions import Fraction

from pipeline_lib.grading.maths.answer_types import Answer, Expression, Items, Named, Number, Quantity, Readings
from pipeline_lib.grading.maths.nodes import Node, any_of
from pipeline_lib.grading.maths.trees import IMAGINARY, BeyondComputing, Tree, holds_constant, rational_value, renamed, symbols

# Two decimals are equal when they differ by no more than this, absolutely (OlympiadBench's judge) and relative to the gold one.
DECIMAL_TOLERANCE = Fraction(1, 10**8)
# A rounded decimal stands for an exact value when it shows at least so many decimals and significant digits.
LEAST_ROUNDED_DIGITS = 4
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


def unified(trees: list[Tree]) -> list[Tree]:
    """A letter that gold answer and prediction use in one case only, each in another, is the same variable: N + 1 and n + 1."""
    half = len(trees) // 2
    golds, answers = (set().union(*(symbols(tree) for tree in side)) for side in (trees[:half], trees[half:]))
    names = {}
    for name in answers - golds:
        other = name.swapcase()
        if len(name) == 1 and other in golds and other not in answers:
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


def near(one: Readings, other: Readings) -> Node:
    r"""Whether one side of \approx is a rounding of the other to the digits it shows; two decimals or more may also be cut."""
    numbers = [
        next((answer for answer in side if isinstance(answer, Number | Expression | Quantity)), None) for side in (one, other)
    ]
    amounts = [side.amount if isinstance(side, Quantity) else side for side in numbers]
    nodes: list[Node] = []
    for shown, exact in (amounts, amounts[::-1]):
        if isinstance(shown, Number) and exact is not None:
            decimals = shown.decimals or 0
            error = Fraction(1 if decimals > 1 else 5, 10 ** (decimals if decimals > 1 else decimals + 1))
            if isinstance(exact, Number):
                nodes.append(abs(shown.value - exact.value) <= error)
            else:
                nodes.append(checked(["near", exact.tree, str(shown.value), str(error)], [exact.tree], []))
    return any_of(nodes)


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
