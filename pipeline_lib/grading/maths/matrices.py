"""Environments and vectors: matrices with their factors, transposes and determinants, piecewise values, systems of equations."""

from collections.abc import Callable

from pipeline_lib.grading.maths.answer_types import Expression, Items, Matrix, Number, Readings, Text
from pipeline_lib.grading.maths.atoms import valued
from pipeline_lib.grading.maths.expressions import parse_expression
from pipeline_lib.grading.maths.lexer import Tokens
from pipeline_lib.grading.maths.splitting import closing, depth_change, split
from pipeline_lib.grading.maths.trees import Tree

_MATRICES = frozenset(("pmatrix", "bmatrix", "matrix", "Bmatrix", "smallmatrix"))
_SYSTEMS = frozenset(("cases", "array", "aligned", "align", "gathered", "rcases", "split", "dcases"))
_CASES = frozenset(("cases", "rcases", "dcases"))
_TIMES = frozenset(("\\cdot", "\\times", "*"))
_IF = frozenset(("if", "for", "when", "where", ","))
_TRANSPOSED = (("^", "T"), ("^", "{", "T", "}"), ("^", "\\top"), ("^", "{", "\\top", "}"), ("'",))
_BASIS: dict[Tree, int] = {
    **{("s", f"\\{accent} {name}"): place for accent in ("hat", "vec") for name, place in
       (("i", 0), ("j", 1), ("k", 2), ("\\imath", 0), ("\\jmath", 1))},
    ("c", "i"): 0, ("s", "j"): 1, ("s", "k"): 2,
}  # fmt: skip
LARGEST_DETERMINANT = 4


class Environments:
    """Readings of what is or holds an environment; `whole` reads a cell, `listed` the lines of a system, `related` tells equations."""

    def __init__(
        self,
        whole: Callable[[Tokens], Readings],
        listed: Callable[[list[Tokens]], Readings | None],
        related: Callable[[Tokens], bool],
    ) -> None:
        self.whole, self.listed, self.related = whole, listed, related

    def read(self, tokens: Tokens) -> Readings | None:
        """A matrix, or a system of equations, which is a list of its lines."""
        brace = tokens[0].text == "\\{" and len(tokens) > 1 and tokens[1].text.startswith("\\begin{")
        if brace:
            tokens = tokens[1:]
        if not tokens[0].text.startswith("\\begin{"):
            bracketed = tokens[0].text in ("(", "[") and len(tokens) > 1 and tokens[1].text.startswith("\\begin{")
            if bracketed and (end := closing(tokens, 0)) is not None and _is_end(tokens, end):
                return _transposed(self.read(tokens[1:end]), end < len(tokens) - 1)
            return self.multiplied(tokens)
        end = closing(tokens, 0)
        if end is None or not _is_end(tokens, end):
            return None if end is None else self.added(tokens)
        name, body = tokens[0].text[7:-1], tokens[1:end]
        rows = [
            split(line, lambda token: token.text == "&") for line in split(body, lambda token: token.kind == "newline") if line
        ]
        has_relations = any(self.related(cell) for row in rows for cell in row)
        if name in _MATRICES or name == "vmatrix" or (name == "array" and not has_relations and not brace):
            matrix = (Matrix(tuple(tuple(self.whole(cell) for cell in row) for row in rows)),)
            return _determinant(matrix) if name == "vmatrix" else _transposed(matrix, end < len(tokens) - 1)
        if name not in _SYSTEMS or end < len(tokens) - 1:
            return None
        is_piecewise = any(len(row) > 1 and row[0] and not self.related(row[0]) for row in rows)
        if is_piecewise and (name in _CASES or (brace and all(len(row) == 2 for row in rows))):
            return (Items("list", tuple((self.case(row),) for row in rows)),)
        return self.listed([tuple(token for cell in row for token in cell) for row in rows])

    def case(self, row: list[Tokens]) -> Items:
        """A value and its condition, with or without the word "if"."""
        cells = [self.whole(row[0])]
        for cell in row[1:]:
            while cell and cell[0].text in _IF:
                cell = cell[1:]
            read = self.whole(cell)
            cells.append((Text(("otherwise",)),) if read in ((Text(("else",)),), (Text(("otherwise",)),)) else read)
        return Items("tuple", tuple(cells), "cases")

    def added(self, tokens: Tokens) -> Readings | None:
        """A sum of matrices of one size, cell by cell; None for anything else."""
        terms: list[Tokens] = []
        depth = start = 0
        for place, token in enumerate(tokens):
            if depth == 0 and place and token.text in ("+", "-") and tokens[place - 1].text not in ("+", "-", *_TIMES):
                terms.append(tokens[start:place])
                start = place + (token.text == "+")
            depth += depth_change(token.text)
        found = [_trees(self.read(term)) if term else None for term in (*terms, tokens[start:])] if terms else []
        sizes = {tuple(len(row) for row in rows) if rows is not None else None for rows in found}
        if len(sizes) != 1 or None in sizes:
            return None
        rows = zip(*(rows for rows in found if rows is not None), strict=True)
        return (Matrix(tuple(tuple(valued(("+", *cells)) for cells in zip(*row, strict=True)) for row in rows)),)

    def multiplied(self, tokens: Tokens) -> Readings | None:
        """A sum of matrices, a factor or a sign before a matrix, or the sign of a determinant."""
        if not any(token.text.startswith("\\begin{") for token in tokens):
            return None
        if (total := self.added(tokens)) is not None:
            return total
        start = next((place for place, token in enumerate(tokens) if token.text.startswith("\\begin{")), 0)
        factor = tokens[:start]
        if factor and factor[-1].text in ("(", "["):
            start, factor = start - 1, factor[:-1]
        if not factor:
            return None
        if factor[0].text == "\\det" and len(factor) == 1:
            return _determinant(self.read(tokens[start:]))
        tree = ("n", "-1") if [token.text for token in factor] == ["-"] else None
        tree = tree or parse_expression(factor[:-1] if factor[-1].text in _TIMES else factor)
        matrix = self.read(tokens[start:]) if tree is not None else None
        cells = _trees(matrix)
        return None if cells is None else (Matrix(tuple(tuple(valued(("*", tree, cell)) for cell in row) for row in cells)),)


def _is_end(tokens: Tokens, end: int) -> bool:
    return end == len(tokens) - 1 or tuple(token.text for token in tokens[end + 1 :]) in _TRANSPOSED


def transposed_vector(tokens: Tokens) -> Tokens | None:
    """The brackets before a sign of transposition; None without one."""
    end = closing(tokens, 0) if tokens[0].text in ("(", "[") else None
    is_pair = end is not None and tokens[0].text + tokens[end].text in ("()", "[]")
    return tokens[: end + 1] if is_pair and end is not None and end < len(tokens) - 1 and _is_end(tokens, end) else None


def _transposed(readings: Readings | None, is_transposed: bool) -> Readings | None:
    if not is_transposed or readings is None or not isinstance(readings[0], Matrix):
        return None if is_transposed else readings
    rows = readings[0].rows
    return (Matrix(tuple(zip(*rows, strict=True))),) if len({len(row) for row in rows}) == 1 else None


def _trees(readings: Readings | None) -> list[list[Tree]] | None:
    """The cells of a matrix as trees; None where one is none."""
    if readings is None or not isinstance(readings[0], Matrix):
        return None
    rows = []
    for row in readings[0].rows:
        trees = [next((cell.tree for cell in cells if isinstance(cell, Number | Expression)), None) for cells in row]
        if any(tree is None for tree in trees):
            return None
        rows.append([tree for tree in trees if tree is not None])
    return rows


def _determinant(readings: Readings | None) -> Readings | None:
    rows = _trees(readings)
    if rows is None or not 0 < len(rows) <= LARGEST_DETERMINANT or any(len(row) != len(rows) for row in rows):
        return None
    return valued(_expanded(rows))


def _expanded(rows: list[list[Tree]]) -> Tree:
    """A determinant by its first row (Laplace)."""
    if len(rows) == 1:
        return rows[0][0]
    minors = [_expanded([row[:place] + row[place + 1 :] for row in rows[1:]]) for place in range(len(rows))]
    signs = [("n", "-1" if place % 2 else "1") for place in range(len(rows))]
    return ("+", *(("*", sign, ("*", cell, minor)) for sign, cell, minor in zip(signs, rows[0], minors, strict=True)))


def read_vector(tokens: Tokens) -> Readings:
    r"""2\mathbf{i} - 3\mathbf{j} as the tuple of its components."""
    if not any(token.text in ("j", "\\jmath", "\\j") for token in tokens):
        return ()
    tree = parse_expression(tokens)
    if tree is None or tree[0] != "+":
        return ()
    components: dict[int, Tree] = {}
    for term in tree[1:]:
        found = _component(term)
        if found is None or found[0] in components:
            return ()
        components[found[0]] = found[1]
    size = 3 if 2 in components else 2
    return (Items("tuple", tuple(valued(components.get(place, ("n", "0"))) for place in range(size)), "()"),)


def _component(term: Tree) -> tuple[int, Tree] | None:
    """The place of the one basis vector in a product, and the product without it."""
    if term in _BASIS:
        return _BASIS[term], ("n", "1")
    if term[0] not in ("*", "/"):
        return None
    found = [_component(part) for part in term[1:]]
    places = [place for place, component in enumerate(found) if component is not None]
    if len(places) != 1 or (term[0] == "/" and places[0]):
        return None
    component = found[places[0]]
    assert component is not None
    rest = list(term[1:])
    rest[places[0]] = component[1]
    return component[0], (term[0], *rest)
