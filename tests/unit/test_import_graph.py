"""How the house stands: no module needs itself by way of others, and few modules lie outside a room."""

from collections import defaultdict
from functools import cache
from pathlib import Path

import grimp
import numpy as np
from scipy.sparse.csgraph import connected_components

ROOT = Path(__file__).parents[2]


@cache
def imports() -> dict[str, set[str]]:
    """What each module imports directly: imports inside functions and those for type checkers, too."""
    graph = grimp.build_graph("flows", "tasks", "pipeline_lib", exclude_type_checking_imports=False, cache_dir=None)
    return {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that all reach each other."""
    names = sorted(graph)
    matrix = np.array([[other in graph[name] for other in names] for name in names])
    _, labels = connected_components(matrix, connection="strong")
    groups = defaultdict(list)
    for name, label in zip(names, labels, strict=True):
        groups[label].append(name)
    return [group for group in groups.values() if len(group) > 1]


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


def test_no_module_needs_itself() -> None:
    assert len(imports()) > 100
    assert circles(imports()) == []


def test_few_modules_lie_outside_a_room() -> None:
    loose = [path.stem for path in (ROOT / "pipeline_lib").glob("*.py") if path.stem != "__init__"]
    assert len(loose) <= 8, sorted(loose)


def test_the_sandbox_imports_nothing_of_ours() -> None:
    room = "pipeline_lib.grading.code.sandbox"
    inside = {module: found for module, found in imports().items() if module.startswith(room)}
    assert len(inside) > 5
    assert {each for found in inside.values() for each in found if not each.startswith(room)} == set()
