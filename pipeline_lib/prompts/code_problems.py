"""Programming problems: the statement as a model reads it, and the tests, from the rows of the code benchmarks."""

import json
from collections.abc import Mapping
from typing import Any

from pipeline_lib.config import PromptSource


def code_problem(statement: str, row: Mapping[str, Any], tests_format: str) -> str:
    """The statement with what a solver must know beside it: the function's stub, its name, or that it reads standard input.

    HumanEval's stub is the problem itself; MBPP names its function only in its asserts, which its paper shows to the model;
    LiveCodeBench gives starter code, or asks for a program that reads standard input.
    """
    if tests_format == "humaneval":
        return f"Complete this Python function:\n```python\n{statement}\n```"
    if tests_format == "mbpp":
        asserts = row.get("tests") if "tests" in row else row.get("test_list")
        lines = json.loads(asserts) if isinstance(asserts, str) else list(asserts or [])
        return f"{statement}\nYour code should pass these tests:\n```python\n" + "\n".join(lines) + "\n```"
    starter = str(row.get("starter_code") or "").strip()
    if starter:
        return f"{statement}\n\nUse this starter code:\n```python\n{starter}\n```"
    return f"{statement}\n\nThe program reads the input from standard input and writes the answer to standard output."


def code_tests(row: Mapping[str, Any], source: PromptSource) -> str | None:
    """The tests of a row as the code grader reads them (JSON). Raises ValueError naming the source and what is missing."""
    from pipeline_lib.grading.code.specifications import TEST_FORMATS

    assert source.tests_format is not None
    try:
        return TEST_FORMATS[source.tests_format](row)
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"prompt source {source.name!r}: tests_format = {source.tests_format!r}: {error}") from error
