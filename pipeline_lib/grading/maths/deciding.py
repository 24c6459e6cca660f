"""What the maths workers do (see `grading.worker`): answer questions about equality with sympy and math-verify.

Loaded by its path, without this package, which is slow to import.
"""

import importlib.util
from pathlib import Path
from typing import Any

_VALUES = importlib.util.spec_from_file_location("equal_values", Path(__file__).with_name("equal_values.py"))
assert _VALUES is not None and _VALUES.loader is not None
values = importlib.util.module_from_spec(_VALUES)
_VALUES.loader.exec_module(values)


def start() -> None:
    """Import and warm up sympy."""
    root = ("root", ("n", "2"), ("n", "2"))
    assert values.is_equal(("/", root, ("n", "2")), ("/", ("n", "1"), root), None)
    assert not values.is_equal(("^", ("s", "x"), ("n", "2")), ("s", "x"), None)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The reply to a question: reason correct or wrong."""
    return {"reason": "correct" if decide(request["node"], request["tolerance"]) else "wrong"}


def freeze(node: Any) -> Any:
    """A tree as it was before it travelled: tuples in place of lists."""
    return tuple(freeze(part) for part in node) if isinstance(node, list) else node


def decide(node: Any, tolerance: float | None) -> bool:
    """The answer to a node (see nodes.py)."""
    if isinstance(node, bool):
        return node
    kind = node[0]
    if kind == "equal":
        return bool(values.is_equal(freeze(node[1]), freeze(node[2]), tolerance))
    if kind == "near":
        return bool(values.is_near(freeze(node[1]), node[2], node[3]))
    if kind == "relation":
        return bool(values.is_same_relation(node[1], freeze(node[2]), freeze(node[3])))
    if kind == "match":
        return can_match(node[1], tolerance)
    errors = []
    for part in sorted(node[1], key=lambda part: len(str(part))):
        try:
            verdict = decide(part, tolerance)
        except Exception as error:
            errors.append(error)
            continue
        if verdict == (kind == "any"):
            return verdict
    if errors:
        raise errors[0]
    return bool(kind == "all")


def can_match(rows: list[list[Any]], tolerance: float | None) -> bool:
    """Whether every row can have a column of its own whose node holds (Kuhn's algorithm, nodes decided when needed)."""
    known: dict[tuple[int, int], bool] = {}
    owner: dict[int, int] = {}

    def holds(row: int, column: int) -> bool:
        if (row, column) not in known:
            known[row, column] = decide(rows[row][column], tolerance)
        return known[row, column]

    def place(row: int, seen: set[int]) -> bool:
        for column in range(len(rows)):
            if column not in seen and holds(row, column):
                seen.add(column)
                if column not in owner or place(owner[column], seen):
                    owner[column] = row
                    return True
        return False

    return all(place(row, set()) for row in range(len(rows)))
