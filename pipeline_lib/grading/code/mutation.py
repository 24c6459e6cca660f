"""Deterministic mutants of a program: one operator flipped, as a check that wrong programs fail."""

import ast
import copy
import random
from collections.abc import Iterator

_BINARY: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}


def mutate(program: str, seed: int) -> tuple[str, str] | None:
    """The program with one operator flipped, chosen by the seed, and a line saying which; None when it has no operator.

    + and -, * to +, / to *, < and <=, == and !=, in and not in, and/or, `not` doubled, an integer constant plus one where
    there is no operator at all. The mutant's syntax tree always differs; its meaning may not.
    """
    tree = ast.parse(program)
    places = [index for index, node in enumerate(ast.walk(tree)) for _ in _flips(node)]
    if not places:
        places = [index for index, node in enumerate(ast.walk(tree)) if _is_integer(node)]
    if not places:
        return None
    chosen = random.Random(seed).randrange(len(places))
    index = places[chosen]
    mutant = copy.deepcopy(tree)
    node = list(ast.walk(mutant))[index]
    if _is_integer(node):
        assert isinstance(node, ast.Constant) and isinstance(node.value, int)
        node.value += 1
    else:
        list(_flips(node))[chosen - places.index(index)]()
    text = ast.unparse(mutant)
    before = ast.unparse(tree)
    assert text != before
    return text, _changed_line(before, text)


def _is_integer(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int


def _flips(node: ast.AST) -> Iterator["_Flip"]:
    """The flips that one node allows."""
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _BINARY:
        yield _Flip(node, "op", _BINARY[type(node.op)]())
    elif isinstance(node, ast.BoolOp):
        yield _Flip(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        # Doubled it means the opposite.
        yield _Flip(node, "operand", ast.UnaryOp(ast.Not(), node.operand))
    elif isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            if type(operator) in _COMPARISONS:
                flipped = [*node.ops]
                flipped[place] = _COMPARISONS[type(operator)]()
                yield _Flip(node, "ops", flipped)


class _Flip:
    def __init__(self, node: ast.AST, field: str, value: object) -> None:
        self._node, self._field, self._value = node, field, value

    def __call__(self) -> None:
        setattr(self._node, self._field, self._value)


def _changed_line(before: str, after: str) -> str:
    for old, new in zip(before.splitlines(), after.splitlines(), strict=False):
        if old != new:
            return f"{old.strip()} → {new.strip()}"
    return ""
