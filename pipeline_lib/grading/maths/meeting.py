"""How answers of types that may meet are compared; `table` says which may, and has the rules in words with examples."""

import itertools
from collections.abc import Callable
from fractions import Fraction

from pipeline_lib.grading.maths.answer_types import (
    Answer,
    Assignments,
    Based,
    Chain,
    Choice,
    Congruence,
    Date,
    Expression,
    Family,
    Items,
    Matrix,
    Named,
    Number,
    Quantity,
    Ratio,
    Readings,
    Relation,
    Text,
    Time,
    Union,
)
from pipeline_lib.grading.maths.asked_units import accepts_unit
from pipeline_lib.grading.maths.equality import (
    DECIMAL_TOLERANCE,
    checked,
    equal,
    exact_of,
    is_rounding,
    near,
    rename,
    times,
    tree_of,
    unified,
)
from pipeline_lib.grading.maths.lead_words import is_name
from pipeline_lib.grading.maths.nodes import Node, all_of, any_of, matched
from pipeline_lib.grading.maths.units import DEGREE, PERCENT, conversion

_SYMMETRIC = frozenset(("\\parallel", "\\perp", "\\sim", "\\cong", "\\cap", "\\iff"))


class Meeting:
    """The comparisons of one gold answer with one prediction; `decide` is the table, `tolerance` the absolute error the benchmark
    allows in a number, `problem` what asks for the unit of an answer whose gold one has none.
    """

    def __init__(
        self, tolerance: float | None, decide: Callable[["Meeting", Answer, Answer], Node], problem: str | None = None
    ) -> None:
        self.tolerance = None if tolerance is None else Fraction(tolerance)
        self.decide = decide
        self.problem = problem

    def compare(self, gold: Readings, answer: Readings) -> Node:
        """Whether any reading of the answer meets any of the gold one's."""
        if gold == answer:
            return bool(gold)
        nodes: list[Node] = []
        for one in gold:
            for other in answer:
                nodes.append(self.decide(self, one, other))
                if nodes[-1] is True:
                    return True
        return any_of(nodes)

    # Numbers and expressions.

    def numbers(self, gold: Number, answer: Number) -> Node:
        if gold.value == answer.value:
            return True
        difference = abs(gold.value - answer.value)
        if self.tolerance is not None and difference <= self.tolerance:
            return True
        size = min(Fraction(1), abs(gold.value))
        if (gold.decimals is not None or answer.decimals is not None) and difference <= DECIMAL_TOLERANCE * size:
            return True
        return is_rounding(answer, difference, gold) or is_rounding(gold, difference, answer)

    def trees(self, gold: Number | Expression, answer: Number | Expression) -> Node:
        if isinstance(gold, Number) and isinstance(answer, Number):
            return self.numbers(gold, answer)
        return equal(gold.tree, answer.tree)

    def quantities(self, gold: Quantity, answer: Quantity) -> Node:
        factor = None if gold.bare and answer.bare else conversion(answer.unit, gold.unit)
        if factor is None:
            return False
        return self.trees(gold.amount, answer.amount if factor == 1 else times(answer.amount, factor))

    def quantity_and_number(self, gold: Answer, answer: Answer) -> Node:
        quantity, number = (gold, answer) if isinstance(gold, Quantity) else (answer, gold)
        assert isinstance(quantity, Quantity) and isinstance(number, Number | Expression)
        if quantity.bare or (self.problem and quantity is answer and not accepts_unit(self.problem, quantity.unit)):
            return False
        amounts = [quantity.amount]
        if quantity.unit == PERCENT:
            # 75 stands for 75 % where the problem asks for percent, but 0.75 is not 0.75 %.
            in_percent = isinstance(number, Number) and abs(number.value) > 1
            amounts = [*(amounts if in_percent else ()), times(quantity.amount, Fraction(1, 100))]
        elif quantity.unit == DEGREE and not isinstance(number, Number):
            amounts.append(Expression(("/", ("*", quantity.amount.tree, ("c", "pi")), ("n", "180"))))
        in_order = [(number, amount) if number is gold else (amount, number) for amount in amounts]
        # A hundredth is equal or not: to round it twice would let 0.3 pass for 30.00001 %.
        nodes: list[Node] = []
        for one, other in in_order:
            if quantity.amount in (one, other):
                nodes.append(self.trees(one, other))
                continue
            both = isinstance(one, Number) and isinstance(other, Number)
            nodes.append(one.value == other.value if both else self.trees(one, other))  # type: ignore[union-attr]
        return any_of(nodes)

    def ratios(self, gold: Ratio, answer: Ratio) -> Node:
        if len(gold.terms) != len(answer.terms):
            return False
        if gold.clock and answer.clock:
            return gold.terms == answer.terms
        zeros = [[exact_of(term) == 0 for term in side.terms] for side in (gold, answer)]
        if zeros[0] != zeros[1] or all(zeros[0]):
            return False
        pairs = itertools.combinations(zip(gold.terms, answer.terms, strict=True), 2)
        return all_of([equal(("*", gold_one, other), ("*", gold_other, one)) for (gold_one, one), (gold_other, other) in pairs])

    def ratio_and_number(self, gold: Answer, answer: Answer) -> Node:
        ratio, number = (gold, answer) if isinstance(gold, Ratio) else (answer, gold)
        assert isinstance(ratio, Ratio) and isinstance(number, Number | Expression)
        return len(ratio.terms) == 2 and equal(("/", *ratio.terms), number.tree)

    # Structures.

    def in_order(self, gold: tuple[Readings, ...], answer: tuple[Readings, ...]) -> Node:
        if len(gold) != len(answer):
            return False
        return all_of([self.compare(one, other) for one, other in zip(gold, answer, strict=True)])

    def in_any_order(self, gold: tuple[Readings, ...], answer: tuple[Readings, ...]) -> Node:
        """Whether the items pair one to one; to say an item twice changes nothing."""
        if len(gold) != len(answer):
            gold, answer = tuple(dict.fromkeys(gold)), tuple(dict.fromkeys(answer))
        if len(gold) != len(answer):
            return False
        rest_gold, rest_answer = list(gold), list(answer)
        for item in gold:
            if item in rest_answer:
                rest_gold.remove(item)
                rest_answer.remove(item)
        return matched([[self.compare(one, other) for other in rest_answer] for one in rest_gold])

    def items(self, gold: Items, answer: Items) -> Node:
        kinds = {gold.kind, answer.kind}
        if "dots" in (gold.ends, answer.ends) or kinds in ({"tuple"}, {"interval"}, {"list", "tuple"}):
            # Two items in brackets may be an interval, which a bare pair is not.
            if len(gold.items) == 2 and kinds != {"list"} and gold.ends != answer.ends and "{}" not in (gold.ends, answer.ends):
                return False
            # (1, 2), (3, 4) in brackets of their own are a list of points.
            if kinds == {"list", "tuple"} and any(isinstance(item[0], Items) for item in gold.items):
                return self.in_any_order(gold.items, answer.items)
            return self.in_order(gold.items, answer.items)
        return (gold.ends == "or") == (answer.ends == "or") and self.in_any_order(gold.items, answer.items)

    def unions(self, gold: Answer, answer: Answer) -> Node:
        parts = [
            side.parts if isinstance(side, Union) else side.items for side in (gold, answer) if isinstance(side, Union | Items)
        ]
        return self.in_any_order(parts[0], parts[1])

    def matrices(self, gold: Matrix, answer: Matrix) -> Node:
        if len(gold.rows) != len(answer.rows):
            return False
        return all_of([self.in_order(one, other) for one, other in zip(gold.rows, answer.rows, strict=True)])

    def matrix_and_tuple(self, gold: Answer, answer: Answer) -> Node:
        sides = []
        for side in (gold, answer):
            if isinstance(side, Matrix):
                if len(side.rows) > 1 and any(len(row) > 1 for row in side.rows):
                    return False
                sides.append(tuple(cell for row in side.rows for cell in row))
            elif isinstance(side, Items):
                sides.append(side.items)
        return self.in_order(sides[0], sides[1])

    def set_and_element(self, gold: Answer, answer: Answer) -> Node:
        sides: list[Readings] = []
        for side in (gold, answer):
            is_set = isinstance(side, Items) and side.kind == "set"
            if is_set and isinstance(side, Items) and len(side.items) != 1:
                return False
            sides.append(side.items[0] if is_set and isinstance(side, Items) else (side,))
        return self.compare(sides[0], sides[1])

    # Names and relations.

    def named(self, gold: Named, answer: Named) -> Node:
        if gold.name == answer.name or gold.name is None or answer.name is None:
            return self.compare(gold.value, answer.value)
        if gold.relation is None or answer.relation is None:
            return False
        return self.relations(gold.relation, answer.relation)

    def named_and_value(self, gold: Answer, answer: Answer) -> Node:
        if isinstance(gold, Named):
            return not gold.compound and self.compare(gold.value, (answer,))
        assert isinstance(answer, Named)
        return is_name(answer.name or "x") and self.compare((gold,), answer.value)

    def named_and_relation(self, gold: Answer, answer: Answer) -> Node:
        sides = [side.relation if isinstance(side, Named) else side for side in (gold, answer)]
        if not isinstance(sides[0], Relation) or not isinstance(sides[1], Relation):
            return False
        return self.relations(sides[0], sides[1])

    def relations(self, gold: Relation, answer: Relation) -> Node:
        if gold.signs != answer.signs:
            return False
        pairs = [[tree_of(term) for term in side.terms] for side in (gold, answer)]
        if len(gold.signs) == 1 and gold.signs[0] in ("=", "!=", "<", "<=") and None not in pairs[0] + pairs[1]:
            trees = unified([tree for side in pairs for tree in side if tree is not None])
            return checked(["relation", gold.signs[0], trees[:2], trees[2:]], trees[:2], trees[2:])
        in_order = self.in_order(gold.terms, answer.terms)
        if gold.signs[0] in _SYMMETRIC:
            return any_of([in_order, self.in_order(gold.terms, answer.terms[::-1])])
        return in_order

    def assignments(self, gold: Assignments, answer: Assignments) -> Node:
        golds, answers = dict(gold.values), dict(answer.values)
        if golds.keys() != answers.keys():
            return False
        return all_of([self.compare(golds[name], answers[name]) for name in golds])

    def assignments_and_named(self, gold: Answer, answer: Answer) -> Node:
        """x_1 and x_2 number the values of x."""
        numbered, named = (gold, answer) if isinstance(gold, Assignments) else (answer, gold)
        assert isinstance(numbered, Assignments) and isinstance(named, Named)
        if {name.partition("_")[0] for name, _ in numbered.values} != {named.name}:
            return False
        values: Readings = (Items("list", tuple(value for _, value in numbered.values)),)
        return self.compare(*((values, named.value) if numbered is gold else (named.value, values)))

    def assignments_and_items(self, gold: Answer, answer: Answer) -> Node:
        named, items = (gold, answer) if isinstance(gold, Assignments) else (answer, gold)
        assert isinstance(named, Assignments) and isinstance(items, Items)
        values = dict(named.values)
        orders = [named.order, tuple(values)] if items.kind == "list" else [named.order]
        sides = [tuple(values[name] for name in order) for order in orders]
        nodes = [self.in_order(*((side, items.items) if named is gold else (items.items, side))) for side in sides]
        if items.kind == "list" and len({name.partition("_")[0] for name in values}) == 1:
            # x_1 and x_2 number the values of one unknown.
            nodes.append(self.in_any_order(*((sides[0], items.items) if named is gold else (items.items, sides[0]))))
        return any_of(nodes)

    def chains(self, gold: Answer, answer: Answer) -> Node:
        """A chain has to be true, and its last value (or one that it approximates) is the answer."""
        nodes: list[Node] = []
        values: list[list[Readings]] = []
        for side in (gold, answer):
            if isinstance(side, Chain):
                if "~" in side.signs[:-1]:  # each would move the value a little further
                    return False
                for sign, one, other in zip(side.signs, side.terms, side.terms[1:], strict=False):
                    nodes.append(self.compare(one, other) if sign == "=" else near(one, other))
                values.append(list(side.terms[-2:] if side.signs[-1] == "~" else side.terms[-1:]))
            else:
                values.append([(side,)])
        return all_of([any_of([self.compare(one, other) for one in values[0] for other in values[1]]), *nodes])

    def congruences(self, gold: Congruence, answer: Congruence) -> Node:
        if gold.name and answer.name and gold.name != answer.name:
            return False
        values = [exact_of(tree) for tree in (gold.value, answer.value, gold.modulus, answer.modulus)]
        if None in values:
            return all_of([equal(gold.modulus, answer.modulus), equal(gold.value, answer.value)])
        first, second, modulus, other = (value or Fraction(0) for value in values)
        return modulus == other != 0 and (first - second) % modulus == 0

    def families(self, gold: Family, answer: Family) -> Node:
        if [over for _, over in gold.parameters] != [over for _, over in answer.parameters]:
            return False
        names = {other: name for (name, _), (other, _) in zip(gold.parameters, answer.parameters, strict=True)}
        return self.compare(gold.value, rename(answer.value, names))

    # Digits and words.

    def based(self, gold: Based, answer: Based) -> Node:
        return int(gold.digits, gold.base) == int(answer.digits, answer.base)

    def based_and_number(self, gold: Answer, answer: Answer) -> Node:
        based, number = (gold, answer) if isinstance(gold, Based) else (answer, gold)
        assert isinstance(based, Based) and isinstance(number, Number)
        if number.decimals is not None:
            return False
        # A problem that asks for a base needs no base in the answer; one that does not has a gold answer in base ten.
        return number.value == int(based.digits, based.base) if number is gold else str(number.value) == based.digits

    def times(self, gold: Time, answer: Time) -> Node:
        one, other = ((*side.parts, 0)[:3] for side in (gold, answer))
        if one[1:] != other[1:]:
            return False
        if gold.half and answer.half:
            return gold.half == answer.half and one[0] % 12 == other[0] % 12
        if not (gold.half or answer.half):
            return one[0] == other[0]
        stated, plain, half = (one[0], other[0], gold.half) if gold.half else (other[0], one[0], answer.half)
        return plain in (stated, stated % 12 + 12 * (half == "p"))

    def dates(self, gold: Date, answer: Date) -> Node:
        return gold == answer

    def choices(self, gold: Choice, answer: Choice) -> Node:
        return gold.letter == answer.letter

    def choice_and_value(self, gold: Answer, answer: Answer) -> Node:
        choice, other = (gold, answer) if isinstance(gold, Choice) else (answer, gold)
        assert isinstance(choice, Choice)
        pair = (choice.text, (other,))
        return bool(choice.text) and self.compare(*(pair if choice is gold else pair[::-1]))

    def texts(self, gold: Text, answer: Text) -> Node:
        return gold.words == answer.words
