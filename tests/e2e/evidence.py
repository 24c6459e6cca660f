"""What a test runs, read from its source: the words that it hands to programs, also through fixtures and helpers it calls."""

import ast
from functools import cache
from pathlib import Path

from driving import REPOSITORY

Definition = ast.FunctionDef | ast.ClassDef | ast.Assign


def words_of(test: str) -> set[str]:
    """The texts in a test's source and in what it reaches, by `file::name`. Raises KeyError when there is no such function.

    Reached are functions, fixtures, classes and constants of the same file, or imported from a module beside it, whose name
    occurs in the source; of a class, how it is made and the methods whose names occur.
    """
    file, name = test.split("::")
    found: set[str] = set()
    _collect(REPOSITORY / file, name, found, set())
    return found


def _collect(file: Path, name: str, found: set[str], seen: set[tuple[Path, str]]) -> None:
    if (file, name) in seen:
        return
    seen.add((file, name))
    definitions, imported = _definitions(file)
    for node in _source(definitions[name]):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        names = {ast.Name: "id", ast.arg: "arg", ast.Attribute: "attr"}
        reached = str(getattr(node, names[type(node)])) if type(node) in names else ""
        if reached in imported:
            _collect(imported[reached], reached, found, seen)
        elif reached in definitions:
            _collect(file, reached, found, seen)
        elif isinstance(node, ast.Attribute):
            for other in set(imported.values()):
                if reached in _definitions(other)[0]:
                    _collect(other, reached, found, seen)


def _source(definition: Definition) -> list[ast.AST]:
    """Every node of a definition but its docstring; of a class, of what makes it."""
    body: list[ast.stmt] = [definition]
    if isinstance(definition, ast.ClassDef):
        body = [each for each in definition.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
    nodes = [node for statement in body for node in ast.walk(statement)]
    said = {id(node.body[0].value) for node in nodes if isinstance(node, ast.FunctionDef) and ast.get_docstring(node)}  # type: ignore[attr-defined]
    return [node for node in nodes if id(node) not in said]


@cache
def _definitions(file: Path) -> tuple[dict[str, Definition], dict[str, Path]]:
    """The functions, classes with their methods, and constants of a file; and the files its names are imported from."""
    definitions: dict[str, Definition] = {}
    imported: dict[str, Path] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            definitions[node.name] = node
        if isinstance(node, ast.ClassDef):
            definitions |= {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
        if isinstance(node, ast.Assign):
            definitions |= {target.id: node for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.ImportFrom) and (beside := file.with_name(f"{node.module}.py")).exists():
            imported |= {each.name: beside for each in node.names}
    return definitions, imported
