"""What relations say: the value of a name, an interval, a chain of constants, values of several names."""

from collections.abc import Callable

from pipeline_lib.grading.maths.answer_types import (
    Answer,
    Assignments,
    Based,
    Chain,
    Congruence,
    Expression,
    Family,
    Items,
    Matrix,
    Named,
    Number,
    Quantity,
    Readings,
    Relation,
    Text,
    Union,
)
from pipeline_lib.grading.maths.atoms import valued
from pipeline_lib.grading.maths.expressions import parse_expression
from pipeline_lib.grading.maths.intervals import HIGH, LOW, REAL_LINE, intersection, interval, is_interval, line_without, united
from pipeline_lib.grading.maths.lexer import Tokens
from pipeline_lib.grading.maths.named_values import OTHER_WORDS, is_closed
from pipeline_lib.grading.maths.splitting import split, trimmed
from pipeline_lib.grading.maths.trees import Tree, symbols

# Where |x| may stand among two or three terms.
_BOUNDED_PLACES = ((2, 0), (2, 1), (3, 1))
# Functions whose value is hardly ever asked for without that of their argument.
_ALTERING = frozenset(("ln", "log", "!", "!!", "floor", "ceil", "sgn"))


def _tree(readings: Readings) -> Tree | None:
    for answer in readings:
        if isinstance(answer, Number | Expression):
            return answer.tree
    return None


def related(relation: Relation, lead: str | None = None) -> Readings:
    """What a relation says: a chain of constants, the value of a name or of a lead, an interval, or just the relation."""
    terms, signs = relation.terms, relation.signs
    if all(sign in ("=", "~") for sign in signs):
        if all(is_constant(term[0]) for term in terms):
            return (Chain(terms, signs),)
        if is_constant(terms[0][0]) and name_of(terms[-1])[0] and not is_constant(terms[-1][0]):
            # 5 = x.
            terms, signs = terms[::-1], signs[::-1]
        name, compound = (lead, False) if lead else name_of(terms[0])
        if name is None and isinstance(terms[-1][0], Matrix):
            # A^{-1} is a name where a matrix follows.
            name = repr(terms[0])
        values = terms[1:]
        if name is None or any(isinstance(value[0], Text) and len(value[0].words) > 3 for value in values):
            return (relation,)
        if isinstance(terms[0][0], Items) and len(values) == 1 and isinstance(values[0][0], Items):
            return (_placed(terms[0][0], values[0][0]) or relation,)
        constants = [value for value in values if is_constant(value[0])]
        if compound and not constants:
            return (relation,)
        if len(constants) > 1 and constants[-1] == values[-1]:
            count = len(constants)
            return (Named(name, (Chain(tuple(constants), signs[len(signs) - count + 1 :]),), compound, relation),)
        return (Named(name, values[-1], compound, relation),)
    if (
        signs == ("\\setminus",)
        and terms[0] == (REAL_LINE,)
        and isinstance(points := terms[1][0], Items)
        and points.kind == "set"
    ):
        rest = intersection([(line_without((point,)),) for point in points.items])
        return (relation,) if rest is None else (rest,)
    if signs == ("\\in",) and (name := name_of(terms[0])[0]) is not None:
        return (Named(name, terms[1]),)
    if all(sign in ("<", "<=") for sign in signs):
        return _bounded(relation)
    if signs == ("!=",) and isinstance(points := terms[1][0], Items) and points.ends == "±" and (name := name_of(terms[0])[0]):
        rest = intersection([(line_without((point,)),) for point in points.items])
        return (relation,) if rest is None else (Named(name, (rest,), False, relation),)
    if signs == ("!=",) and (name := name_of(terms[0])[0]) is not None and is_constant(terms[1][0]):
        return (Named(name, (line_without((terms[1],)),), False, relation),)
    return (relation,)


def _placed(names: Items, values: Items) -> Assignments | None:
    """(a, b) = (1, 2)."""
    keys = [name_of(item)[0] for item in names.items]
    if len(keys) != len(values.items) or None in keys or len(set(keys)) != len(keys):
        return None
    stated = tuple(str(key) for key in keys)
    order = tuple(sorted(stated))
    # (x, y) has its order in the alphabet whichever way it is written; of names such as (m, b) only the writer knows.
    neighbours = all(len(name) == 1 for name in order) and ord(order[-1]) - ord(order[0]) == len(order) - 1
    return Assignments(tuple(zip(stated, values.items, strict=True)), order if neighbours else stated)


def _of_absolute(name: str, terms: tuple[Readings, ...], signs: tuple[str, ...], place: int) -> Readings:
    """The values of x for bounds of |x|."""
    ends = {"<": "()", "<=": "[]"}
    mirrored = [tuple(valued(("*", ("n", "-1"), tree))) if (tree := _tree(term)) is not None else term for term in terms]
    if place == 0:
        return (Named(name, (interval(ends[signs[0]], mirrored[1], terms[1]),)),)
    outer = ("(" + ends[signs[0]][1], ends[signs[0]][0] + ")") if len(terms) == 2 else ("", "")
    if len(terms) == 2:
        parts = (interval(outer[0], LOW, mirrored[0]), interval(outer[1], terms[0], HIGH))
    else:
        left, right = ends[signs[0]], ends[signs[1]]
        parts = (interval(right[0] + left[1], mirrored[2], mirrored[0]), interval(left[0] + right[1], terms[0], terms[2]))
    return (Named(name, (Union(tuple((part,) for part in parts)),)),)


def _bounded(relation: Relation) -> Readings:
    terms, signs = relation.terms, relation.signs
    for place, term in enumerate(terms):
        tree = _tree(term)
        is_absolute = (
            tree is not None and tree[:2] == ("f", "abs") and tree[2][0] == "s" and (len(terms), place) in _BOUNDED_PLACES
        )
        if is_absolute and tree is not None and all(is_constant(other[0]) for other in (*terms[:place], *terms[place + 1 :])):
            return _of_absolute(str(tree[2][1]), terms, signs, place)
    names = [name_of(term)[0] if not is_constant(term[0]) else None for term in terms]
    ends = {"<": "()", "<=": "[]"}
    if len(terms) == 3 and names[1] is not None:
        return (Named(names[1], (interval(ends[signs[0]][0] + ends[signs[1]][1], terms[0], terms[2]),), False, relation),)
    if len(terms) == 2 and (names[0] is None) != (names[1] is None):
        if names[0] is not None:
            bounds = interval("(" + ends[signs[0]][1], LOW, terms[1])
        else:
            bounds = interval(ends[signs[0]][0] + ")", terms[0], HIGH)
        return (Named(names[0] or names[1], (bounds,), False, relation),)
    return (relation,)


def is_constant(answer: Answer) -> bool:
    if isinstance(answer, Expression):
        return not symbols(answer.tree) or (answer.tree[0] == "latex" and is_closed(answer.tree[1]))
    if isinstance(answer, Quantity):
        return not answer.bare and not symbols(answer.amount.tree)
    return isinstance(answer, Number | Based)


def name_of(term: Readings) -> tuple[str | None, bool]:
    """What a term names, and whether it is a sum, product or quotient of names; no name for anything with numbers or powers."""
    for answer in term:
        if isinstance(answer, Expression):
            # What -x is, x is not.
            return (None, False) if answer.tree[:2] == ("*", ("n", "-1")) else _tree_name(answer.tree)
        if isinstance(answer, Text) and len(answer.words) <= 3 and all(word.isalpha() for word in answer.words):
            return None if OTHER_WORDS.intersection(answer.words) else " ".join(answer.words), False
        if isinstance(answer, Items) and answer.ends == "()" and all(name_of(item)[0] for item in answer.items):
            return "(" + ",".join(str(name_of(item)[0]) for item in answer.items) + ")", False
    return None, False


def _tree_name(tree: Tree) -> tuple[str | None, bool]:
    if tree[0] == "s" or tree in (("c", "e"), ("c", "i")):
        return str(tree[1]), False
    if tree[0] == "f" and tree[1] not in _ALTERING and all(part[0] in ("n", "s", "c") or part[0] == "*" for part in tree[2:]):
        return repr(tree), not (tree[1].startswith(" ") or len(tree) == 3)
    if tree[0] == "*" and all(part[0] in ("s", "*", "n") for part in tree[1:]) and (names := _product(tree)):
        # AB names a segment; ab is a product.
        return repr(tree), not (names.isupper() or names.startswith("\\Delta") or names == "pH")
    if tree[0] in ("+", "*", "/") and all(part == ("n", "-1") or _tree_name(part)[0] for part in tree[1:]):
        return repr(tree), tree[0] != "/" or any(_tree_name(part)[1] or not _product(part).isupper() for part in tree[1:])
    return None, False


def _product(tree: Tree) -> str:
    """The letters of a product of letters; nothing for another tree."""
    if tree[0] == "s":
        return str(tree[1])
    parts = [_product(part) for part in tree[1:]] if tree[0] == "*" else [""]
    return "".join(parts) if all(parts) else ""


def family(items: list[Readings]) -> Family | None:
    """A value (or several) with conditions on integers: k pi, k in Z."""
    parameters, values = [], []
    for readings in items:
        first = readings[0]
        if (
            isinstance(first, Named)
            and first.name
            and isinstance(first.value[0], Text)
            and "\\mathbb" in first.value[0].words[0]
        ):
            parameters.append((first.name, " ".join(first.value[0].words)))
        else:
            values.append(readings)
    if not parameters or not values:
        return None
    value = values[0] if len(values) == 1 else (Items("list", tuple(values)),)
    return Family(value, tuple(parameters))


def named_items(firsts: list[Answer], items: list[Readings], is_or: bool) -> Readings | None:
    """Named values together: several names are assignments, one name has several values; inequalities are intervals."""
    if not firsts or not isinstance(firsts[0], Named) or firsts[0].name is None:
        return None
    names: list[str] = []
    values: list[Readings] = []
    is_excluded = firsts[0].relation is not None and firsts[0].relation.signs == ("!=",)
    for first, readings in zip(firsts, items, strict=True):
        if isinstance(first, Named) and first.name is not None:
            listed = first.value[0]
            # "or 3" behind x = 1, 2 goes on with the list.
            several = listed.items if is_or and isinstance(listed, Items) and (listed.kind, listed.ends) == ("list", "") else ()
            names += [first.name] * (len(several) or 1)
            values += several or (first.value,)
        elif isinstance(first, Number | Expression | Quantity):
            # x = 2, 3 says x twice.
            names.append(names[-1])
            values.append((line_without((readings,)),) if is_excluded else readings)
        else:
            return None
    if len(set(names)) > 1:
        return _assigned(list(zip(names, values, strict=True)))
    if all(is_interval(value[0]) or isinstance(value[0], Union) for value in values):
        common = None if is_or else intersection(values)
        empty = common is None or (isinstance(common, Items) and not common.items)
        return (Named(names[0], ((united(tuple(values)) or Union(tuple(values))) if empty else common,)),)  # type: ignore[arg-type]
    return (Named(names[0], (Items("list", tuple(values)),)),)


def _assigned(pairs: list[tuple[str, Readings]]) -> Readings:
    """Assignments; a name that comes again begins the next solution."""
    solutions: list[dict[str, Readings]] = [{}]
    for name, value in pairs:
        if name in solutions[-1]:
            solutions.append({})
        solutions[-1][name] = value
    found = [Assignments(tuple(values.items()), tuple(sorted(values))) for values in solutions]
    return (found[0],) if len(found) == 1 else (Items("list", tuple((one,) for one in found)),)


def congruence(tokens: Tokens, whole: Callable[[Tokens], Readings]) -> Congruence | None:
    """x \\equiv 3 \\pmod 5, 3 \\pmod{5}, x = 3 (mod 5)."""
    index = next((place for place, token in enumerate(tokens) if token.text in ("\\pmod", "\\mod", "mod", "\\bmod")), 0)
    if index == 0:
        return None
    modulus, rest = tokens[index + 1 :], tokens[:index]
    if rest[-1].text == "(" and modulus and modulus[-1].text == ")":
        modulus, rest = modulus[:-1], rest[:-1]
    elif tokens[index].text != "\\pmod" and not any(token.text == "\\equiv" for token in rest):
        return None
    parts = split(rest, lambda token: token.text in ("\\equiv", "="))
    trees = [parse_expression(trimmed(part)) for part in (parts[-1], modulus)]
    name = name_of(whole(parts[0]))[0] if len(parts) == 2 else None
    if trees[0] is None or trees[1] is None or len(parts) > 2 or (len(parts) == 2 and name is None):
        return None
    return Congruence(name, trees[0], trees[1])
