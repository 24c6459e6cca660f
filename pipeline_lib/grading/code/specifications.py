"""Test specifications: the JSON that goes with a problem, read, checked, and made from the benchmarks' rows.

Three types:
{"type": "stdin", "cases": [{"input": text, "output": text}]}
{"type": "function", "entry_point": name, "cases": [{"input": one JSON argument a line, "output": JSON}]}
{"type": "program", "entry_point": name, "preamble": code, "code": asserts or def check(candidate)}
Instead of "entry_point" a program may have "entry_points", a list; names that its code reads and nothing else defines are looked
up in the answer too. The preamble runs before the answer and before the tests, each in their own process; what it defines under an
entry point's name is withheld from the answer.
"""

import ast
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pipeline_lib.grading.code.livecodebench import livecodebench_tests

_LONG_DIGITS = 4000
_LONG_INTEGER = re.compile(rf"(?<![\w.])\d{{{_LONG_DIGITS},}}+(?![\w.])")


@dataclass(frozen=True)
class StdinTests:
    """Pairs of standard input and expected standard output."""

    cases: tuple[tuple[str, str], ...]

    @property
    def num_tests(self) -> int:
        """One per case."""
        return len(self.cases)


@dataclass(frozen=True)
class FunctionTests:
    """Arguments and expected result of calls of one function or method of class Solution, all plain JSON values."""

    entry_point: str
    cases: tuple[tuple[tuple[Any, ...], Any], ...]

    @property
    def num_tests(self) -> int:
        """One per call."""
        return len(self.cases)


@dataclass(frozen=True)
class ProgramTests:
    """Trusted code that asserts; `num_tests` counts its top-level asserts, and check() as one."""

    entry_points: tuple[str, ...]
    preamble: str
    code: str
    num_tests: int


Tests = StdinTests | FunctionTests | ProgramTests


def parse_tests(specification: str) -> Tests:
    """The tests of a JSON specification. Raises ValueError saying what is wrong with it."""
    try:
        fields = json.loads(specification)
        kind = fields["type"]
        if kind not in _PARSERS:
            raise ValueError(f"type = {kind!r} is not one of {', '.join(_PARSERS)}")
        return _PARSERS[kind](fields)
    except (ValueError, KeyError, TypeError, RecursionError, SyntaxError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"tests = {specification[:60]!r}… is no test specification: {what}") from error


def _parse_stdin(fields: Mapping[str, Any]) -> StdinTests:
    return StdinTests(tuple((_text(case, "input"), _text(case, "output")) for case in _cases(fields)))


def _parse_function(fields: Mapping[str, Any]) -> FunctionTests:
    cases = tuple((_read_arguments(_text(case, "input")), _read_json(_text(case, "output"))) for case in _cases(fields))
    return FunctionTests(_identifier(fields["entry_point"]), cases)


def _read_arguments(text: str) -> tuple[Any, ...]:
    return tuple(_read_json(line) for line in text.split("\n")) if text.strip() else ()


def _read_json(text: str) -> Any:
    # int() refuses more than some thousand digits; Decimal does not, and is exact here.
    return json.loads(text, parse_int=lambda digits: int(Decimal(digits)) if len(digits) > _LONG_DIGITS else int(digits))


def _parse(code: str) -> ast.Module:
    """The tree of some code, long integers in it shortened: Python reads them only where its limit is off, as in the sandbox."""
    return ast.parse(_LONG_INTEGER.sub("1", code))


def _parse_program(fields: Mapping[str, Any]) -> ProgramTests:
    names = fields["entry_points"] if "entry_points" in fields else [fields["entry_point"]]
    preamble, code = _text(fields, "preamble"), _text(fields, "code")
    _parse(preamble)
    body = _parse(code).body
    num_asserts = sum(isinstance(node, ast.Assert) for node in body)
    num_checks = sum(isinstance(node, ast.FunctionDef) and node.name == "check" for node in body)
    if num_checks and not names:
        raise ValueError("a check() needs an entry_point")
    if not num_asserts + num_checks:
        raise ValueError("its code has neither an assert nor a check()")
    return ProgramTests(tuple(map(_identifier, names)), preamble, code, num_asserts + min(1, num_checks))


_PARSERS: dict[str, Callable[[Mapping[str, Any]], Tests]] = {
    "stdin": _parse_stdin,
    "function": _parse_function,
    "program": _parse_program,
}


def _cases(fields: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    cases = fields["cases"]
    if not isinstance(cases, list) or not cases:
        raise ValueError("cases is not a list with at least one case")
    return cases


def _text(fields: Mapping[str, Any], name: str) -> str:
    if not isinstance(fields[name], str):
        raise ValueError(f"{name} is a {type(fields[name]).__name__}, not a text")
    return str(fields[name])


def _identifier(name: Any) -> str:
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"entry_point = {name!r} is no name of a function")
    return name


def humaneval_tests(row: Mapping[str, Any]) -> str:
    """From a HumanEval row (prompt or problem, test or tests, entry_point). Raises KeyError.

    The prompt's stub is the preamble: its imports and its other functions are there for answer and tests, as in HumanEval's own
    harness, which runs prompt, completion and tests as one file.
    """
    return json.dumps(
        {
            "type": "program",
            "entry_point": row["entry_point"],
            "preamble": row["prompt"] if "prompt" in row else row["problem"],
            "code": row["test"] if "test" in row else row["tests"],
        }
    )


def mbpp_tests(row: Mapping[str, Any]) -> str:
    """From an MBPP row (code or answer; test_list or tests; test_imports or test_setup_code). Raises KeyError, ValueError.

    The entry points are those functions and classes of the reference solution that the tests name, be they called like a builtin
    (`sum`); a builtin that the reference does not define stays the real one in the tests, whatever the answer calls its own.
    """
    asserts = _list(row["test_list"] if "test_list" in row else row["tests"])
    # Set-up code may make objects of the answer's classes, so it belongs to the tests.
    code = "\n".join([str(row.get("test_setup_code") or ""), *asserts])
    reference = _parse(row["code"] if "code" in row else row["answer"])
    defined = {node.name for node in reference.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    names = [node.id for node in ast.walk(_parse(code)) if isinstance(node, ast.Name) and node.id in defined]
    return json.dumps(
        {
            "type": "program",
            "entry_points": list(dict.fromkeys(names)),
            "preamble": "\n".join(_list(row.get("test_imports"))),
            "code": code,
        }
    )


def _list(value: Any) -> list[str]:
    """A column that holds a list, or a list as JSON, or nothing."""
    members = json.loads(value) if isinstance(value, str) else value
    return [str(member) for member in members] if members is not None else []


TEST_FORMATS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "humaneval": humaneval_tests,
    "mbpp": mbpp_tests,
    "livecodebench": livecodebench_tests,
}
