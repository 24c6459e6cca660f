"""Comparing two answers by their shape, down to what only algebra can decide.

The result is a node: True, False, or a question for the maths workers. Questions are lists, so that they travel as JSON:
["leaf", gold, answer] asks whether two expressions are equal; ["all", [node, ...]] and ["any", [node, ...]] combine;
["match", [[node, ...], ...]] asks for a one-to-one pairing of gold items (rows) with answer items (columns).
"""

import re
from typing import Any

from pipeline_lib.grading.maths.normal_form import normalise
from pipeline_lib.grading.maths.numbers import decimal_comma, quantities_agree, read_quantity
from pipeline_lib.grading.maths.shape import (
    MOST_ITEMS,
    Bracketed,
    Relation,
    as_interval,
    as_union,
    is_name,
    read_bracketed,
    read_matrix,
    read_relation,
    split_items,
    split_union,
)
from pipeline_lib.grading.maths.words import same_choice, same_digits_in_base, same_time, same_words

Node = bool | list[Any]

# Longer or deeper expressions are never a benchmark's answer and only cost time.
LONGEST_EXPRESSION = 2000
DEEPEST_BRACES = 40
DEEPEST_SHAPE = 8

_TRAILING_UNIT = re.compile(r"(?:(?<=[\d}).])|(?<=\\pi))\s*\\text\{[^{}\\]*\}(?:\^\{\d\})?$")


def compare_answers(gold: str, answer: str, tolerance: float | None = None) -> Node:
    """Whether two raw answers agree, as a node. `tolerance` is the absolute error the benchmark allows in a number."""
    gold_text, answer_text = normalise(gold), normalise(answer)
    if not gold_text or not answer_text:
        return False
    node = compare(gold_text, answer_text, tolerance)
    if node is True:
        return True
    # "100,200" may be a number or a list: the other reading, where it is one.
    gold_list, answer_list = normalise(gold, False), normalise(answer, False)
    if (gold_list, answer_list) != (gold_text, answer_text) and not re.search(r",0\d", gold_list + answer_list):
        return any_of([node, compare(gold_list, answer_list, tolerance)])
    return node


def compare(gold: str, answer: str, tolerance: float | None, depth: int = 0) -> Node:
    """Whether two normalised answers agree, as a node."""
    if gold == answer:
        return True
    if len(answer) > LONGEST_EXPRESSION or len(gold) > LONGEST_EXPRESSION or depth > DEEPEST_SHAPE:
        return False
    gold_quantity, answer_quantity = read_quantity(gold), read_quantity(answer)
    if gold_quantity is not None and answer_quantity is not None:
        return quantities_agree(gold_quantity, answer_quantity, tolerance)
    if _is_decimal_comma_pair(gold, answer, tolerance):
        return True
    for decide in (same_time, same_digits_in_base, same_choice, same_words):
        verdict = decide(gold, answer)
        if verdict is not None:
            return verdict
    return _compare_shapes(gold, answer, tolerance, depth + 1)


def _is_decimal_comma_pair(gold: str, answer: str, tolerance: float | None) -> bool:
    """Whether one side is written with a decimal comma, the other with a decimal point, and both are the same number."""
    for one, other in ((gold, answer), (answer, gold)):
        comma, point = decimal_comma(one), read_quantity(other) if "." in other else None
        if comma is not None and point is not None and quantities_agree(comma, point, tolerance):
            return True
    return False


def _compare_shapes(gold: str, answer: str, tolerance: float | None, depth: int) -> Node:
    gold_parts, answer_parts = _approximations(gold), _approximations(answer)
    if len(gold_parts) > 1 or len(answer_parts) > 1:
        return any_of([compare(one, other, tolerance, depth) for one in gold_parts for other in answer_parts[:1]])
    gold_items, answer_items = split_items(gold), split_items(answer)
    if len(gold_items) > 1 or len(answer_items) > 1:
        return _compare_lists(gold, answer, gold_items, answer_items, tolerance, depth)
    gold_relation, answer_relation = read_relation(gold), read_relation(answer)
    if gold_relation is not None or answer_relation is not None:
        return _compare_relations(gold, answer, gold_relation, answer_relation, tolerance, depth)
    gold_union, answer_union = split_union(gold), split_union(answer)
    if len(gold_union) > 1 or len(answer_union) > 1:
        node = match_items(gold_union, answer_union, tolerance, depth) if len(gold_union) == len(answer_union) else False
        return any_of([node, leaf(gold, answer)])
    gold_matrix, answer_matrix = read_matrix(gold), read_matrix(answer)
    if gold_matrix is not None and answer_matrix is not None:
        return _compare_matrices(gold_matrix, answer_matrix, tolerance, depth)
    gold_bracket = _vector(gold_matrix) or read_bracketed(gold)
    answer_bracket = _vector(answer_matrix) or read_bracketed(answer)
    if gold_bracket is not None or answer_bracket is not None:
        return _compare_bracketed(gold, answer, gold_bracket, answer_bracket, tolerance, depth)
    return leaf(gold, answer)


def _approximations(text: str) -> list[str]:
    r"""The values in "exact \approx rounded", exact first, without a name in front."""
    if "\\approx" not in text or len(split_items(text)) > 1:
        return [text]
    parts = [part.strip() for part in text.split("\\approx") if part.strip()]
    return [part for part in parts if not is_name(part)] or parts


def _compare_lists(
    gold: str, answer: str, gold_items: tuple[str, ...], answer_items: tuple[str, ...], tolerance: float | None, depth: int
) -> Node:
    """Lists are unordered (OlympiadBench's rule); against a tuple they are ordered, against a set unordered."""
    if len(gold_items) == 1 or len(answer_items) == 1:
        single = gold if len(gold_items) == 1 else answer
        union = as_union(answer_items if single is gold else gold_items)
        if union is not None:
            return compare(gold, union, tolerance, depth) if single is gold else compare(union, answer, tolerance, depth)
        relation = read_relation(single)
        value = relation.terms[1] if relation is not None and relation.signs in (("=",), ("\\in",)) else single
        bracket = read_bracketed(value)
        if bracket is not None and len(bracket.items) > 1:
            one, other = (bracket.items, answer_items) if single is gold else (gold_items, bracket.items)
            if bracket.kind == "{}" or any(read_bracketed(item) for item in bracket.items):
                return match_items(one, other, tolerance, depth)
            return _in_order(one, other, tolerance, depth)
    if len(gold_items) > 1 and len(gold_items) != len(answer_items):
        # Saying an answer twice changes nothing.
        gold_items, answer_items = tuple(dict.fromkeys(gold_items)), tuple(dict.fromkeys(answer_items))
    return match_items(gold_items, answer_items, tolerance, depth)


def _compare_relations(
    gold: str,
    answer: str,
    gold_relation: Relation | None,
    answer_relation: Relation | None,
    tolerance: float | None,
    depth: int,
) -> Node:
    gold_value, answer_value = _named_value(gold_relation), _named_value(answer_relation)
    if gold_relation is None or answer_relation is None:
        relation = gold_relation or answer_relation
        assert relation is not None
        value = gold_value or answer_value
        if value is not None:
            return compare(gold_value or gold, answer_value or answer, tolerance, depth)
        interval = as_interval(relation)
        other = read_bracketed(answer if gold_relation is not None else gold)
        if interval is not None and other is not None:
            return _in_brackets(interval[1], other, tolerance, depth)
        if relation.is_equation:
            return False
        return leaf(gold, answer)
    if gold_value is not None and answer_value is not None:
        # x + y = 1 is not x - y = 1: what two equations name has to be the same, unless one only computes its value.
        same_name = gold_relation.terms[0] == answer_relation.terms[0] or not _both_named(gold_relation, answer_relation)
        return compare(gold_value, answer_value, tolerance, depth) if same_name else leaf(gold, answer)
    gold_interval, answer_interval = as_interval(gold_relation), as_interval(answer_relation)
    if gold_interval is not None and answer_interval is not None and gold_interval[0] == answer_interval[0]:
        return _in_brackets(gold_interval[1], answer_interval[1], tolerance, depth)
    return leaf(gold, answer)


def _named_value(relation: Relation | None) -> str | None:
    r"""What a chain such as x = 2 + 3 = 5 or x \in S says: its last term, when the first only names or computes it."""
    if relation is None or not (relation.is_equation or relation.signs == ("\\in",)):
        return None
    first, last = relation.terms[0], relation.terms[-1]
    sums = last != "0" and all(is_name(part) for part in re.split(r"[+-]", first) if part)
    return last if is_name(first) or _computes(first) or sums else None


def _both_named(gold: Relation, answer: Relation) -> bool:
    return all(is_name(term) or not _computes(term) for term in (gold.terms[0], answer.terms[0]))


def _computes(term: str) -> bool:
    """Whether a term has no letters besides commands, such as 2 + 3."""
    return not re.search(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", term))


def _compare_matrices(
    gold: tuple[tuple[str, ...], ...], answer: tuple[tuple[str, ...], ...], tolerance: float | None, depth: int
) -> Node:
    if [len(row) for row in gold] != [len(row) for row in answer]:
        return False
    pairs = [pair for rows in zip(gold, answer, strict=True) for pair in zip(*rows, strict=True)]
    return all_of([compare(normalise(one), normalise(other), tolerance, depth) for one, other in pairs])


def _vector(matrix: tuple[tuple[str, ...], ...] | None) -> Bracketed | None:
    if matrix is None or (len(matrix) > 1 and any(len(row) > 1 for row in matrix)):
        return None
    return Bracketed("()", tuple(cell for row in matrix for cell in row))


def _compare_bracketed(
    gold: str,
    answer: str,
    gold_bracket: Bracketed | None,
    answer_bracket: Bracketed | None,
    tolerance: float | None,
    depth: int,
) -> Node:
    if gold_bracket is not None and answer_bracket is not None:
        return _in_brackets(gold_bracket, answer_bracket, tolerance, depth)
    bracket = gold_bracket or answer_bracket
    assert bracket is not None
    if len(bracket.items) == 1 and bracket.kind != "(]" and bracket.kind != "[)":
        # Brackets around one thing only group, also the braces of a set with one element.
        inner = bracket.items[0]
        return compare(inner if gold_bracket else gold, inner if answer_bracket else answer, tolerance, depth)
    other = answer if gold_bracket is not None else gold
    return False if read_quantity(other) is not None else leaf(gold, answer)


def _in_brackets(gold: Bracketed, answer: Bracketed, tolerance: float | None, depth: int) -> Node:
    if gold.kind == "{}" and answer.kind == "{}":
        return match_items(tuple(dict.fromkeys(gold.items)), tuple(dict.fromkeys(answer.items)), tolerance, depth)
    nested = any(read_bracketed(item) for item in gold.items)
    if len(gold.items) == len(answer.items) and (len(gold.items) == 1 or (nested and "{}" in (gold.kind, answer.kind))):
        return match_items(gold.items, answer.items, tolerance, depth)
    # Two items may be an interval, where the brackets tell whether the ends belong to it; more are a point or a vector.
    if (len(gold.items) == 2 and gold.kind != answer.kind) or "{}" in (gold.kind, answer.kind):
        return False
    return _in_order(gold.items, answer.items, tolerance, depth)


def _in_order(gold_items: tuple[str, ...], answer_items: tuple[str, ...], tolerance: float | None, depth: int) -> Node:
    if len(gold_items) != len(answer_items) or len(gold_items) > MOST_ITEMS:
        return False
    pairs = zip(gold_items, answer_items, strict=True)
    return all_of([compare(gold, answer, tolerance, depth) for gold, answer in pairs])


def match_items(gold_items: tuple[str, ...], answer_items: tuple[str, ...], tolerance: float | None, depth: int) -> Node:
    """Whether the items can be paired one to one, in any order, as a node."""
    if len(gold_items) != len(answer_items) or len(gold_items) > MOST_ITEMS:
        return False
    rest_gold, rest_answer = list(gold_items), list(answer_items)
    for item in gold_items:
        if item in rest_answer:
            rest_gold.remove(item)
            rest_answer.remove(item)
    rows: list[list[Node]] = [[compare(gold, answer, tolerance, depth) for answer in rest_answer] for gold in rest_gold]
    if not rows:
        return True
    if not _can_match(rows):
        return False
    certain = [[node is True for node in row] for row in rows]
    return True if _can_match(certain) else ["match", rows]


def _can_match(rows: list[list[Any]]) -> bool:
    """Whether every row has a column of its own that is not False (Kuhn's algorithm)."""
    owner: dict[int, int] = {}

    def place(row: int, seen: set[int]) -> bool:
        for column, node in enumerate(rows[row]):
            if node is not False and column not in seen:
                seen.add(column)
                if column not in owner or place(owner[column], seen):
                    owner[column] = row
                    return True
        return False

    return all(place(row, set()) for row in range(len(rows)))


def all_of(nodes: list[Node]) -> Node:
    """The conjunction, as short as it can be."""
    open_nodes = [node for node in nodes if node is not True]
    if any(node is False for node in open_nodes):
        return False
    return True if not open_nodes else open_nodes[0] if len(open_nodes) == 1 else ["all", open_nodes]


def any_of(nodes: list[Node]) -> Node:
    """The disjunction, as short as it can be."""
    open_nodes = [node for node in nodes if node is not False]
    if any(node is True for node in open_nodes):
        return True
    return False if not open_nodes else open_nodes[0] if len(open_nodes) == 1 else ["any", open_nodes]


def leaf(gold: str, answer: str) -> Node:
    """The question whether two expressions are equal; False when one is nested too deeply to be an answer."""
    if _depth(answer) > DEEPEST_BRACES or _depth(gold) > DEEPEST_BRACES:
        return False
    gold_unit, answer_unit = _TRAILING_UNIT.search(gold), _TRAILING_UNIT.search(answer)
    if gold_unit is not None and (answer_unit is None or gold_unit[0] == answer_unit[0]):
        gold = gold[: gold_unit.start()]
    if answer_unit is not None and (gold_unit is None or gold_unit[0] == answer_unit[0]):
        answer = answer[: answer_unit.start()]
    return True if gold == answer else ["leaf", gold, answer]


def _depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    # Bars open and close alike; the parser tries every way to pair them.
    return max(deepest, 2 * text.count("|"))
