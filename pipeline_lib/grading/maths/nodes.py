"""Questions that only the maths workers can answer, and how they combine.

A node is True, False, or a list that travels as JSON: ["equal", gold, answer] asks whether two trees have the same value, ["near",
tree, decimal] whether a decimal is a rounding of a tree, ["relation", sign, gold, answer] whether two relations (pairs of trees) hold
for the same values; ["all", [node, ...]] and ["any", [node, ...]] combine; ["match", [[node, ...], ...]] asks for a one-to-one pairing
of gold items (rows) with answer items (columns). ["beyond"] is a number beyond computing, ["undefined"] a gold answer without a value.
"""

from typing import Any

Node = bool | list[Any]


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


def matched(rows: list[list[Node]]) -> Node:
    """Whether rows and columns can be paired one to one."""
    if not rows or not _can_match(rows):
        return not rows
    certain: list[list[Node]] = [[node is True for node in row] for row in rows]
    return True if _can_match(certain) else ["match", rows]


def _can_match(rows: list[list[Node]]) -> bool:
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


def holds(node: Node, kind: str) -> bool:
    """Whether a question of this kind is part of the node."""
    if isinstance(node, bool):
        return False
    if node[0] in ("all", "any"):
        return any(holds(part, kind) for part in node[1])
    return node[0] == kind or (node[0] == "match" and any(holds(part, kind) for row in node[1] for part in row))
