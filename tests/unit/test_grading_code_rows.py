"""Code grading: what is extracted, how the three kinds of tests judge, the benchmarks' rows, the known answers."""

import base64
import json
import os
import pickle
import zlib
from pathlib import Path

import pytest

from pipeline_lib.files.tables import read_table
from pipeline_lib.grading import grade_responses
from pipeline_lib.grading.code import TEST_FORMATS, SandboxLimits, extract_program, judge_programs
from pipeline_lib.grading.code.comparison import is_same_output, is_same_result
from pipeline_lib.grading.code.specifications import parse_tests

DATA = Path(os.environ.get("LACONIC_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
STDIN = json.dumps({"type": "stdin", "cases": [{"input": "1 2\n", "output": "3\n"}, {"input": "5 5\n", "output": "10"}]})
FUNCTION = json.dumps(
    {
        "type": "function",
        "entry_point": "twoSum",
        "cases": [{"input": "[2, 7, 11]\n9", "output": "[0, 1]"}, {"input": "[3, 3]\n6", "output": "[0, 1]"}],
    }
)
ASSERTS = json.dumps(
    {"type": "program", "entry_point": "f", "preamble": "k = 1", "code": "assert f(1) == 1 + k\nassert f(2) == 3"}
)


@pytest.mark.parametrize(
    ("response", "program"),
    [
        ("a\n```python\nx = 1\n```\nb", "x = 1"),
        ("```py\nx = 1\n```\nthen\n```\nx = 2\n```", "x = 2"),
        ("```python\nx = 1\n```\noutput:\n```text\n7\n```", "x = 1"),
        ("```python\nx = 1\n```\n```python\nx = 2", None),
        ("```python\nx = 1\n```\n```", None),
        ("x = 1", None),
        ("```python\n\n```", None),
        ("<think>```python\nx = 1\n```</think> none", None),
        ("<think>```python\nx = 1\n```</think>\n```python\nx = 3\n```", "x = 3"),
        ("````python\ns = '''\n```\n'''\n````", "s = '''\n```\n'''"),
        ("```python\r\nx = 1\r\n```\r\n", "x = 1\r"),
    ],
)
def test_the_last_complete_block_is_the_program(response: str, program: str | None) -> None:
    assert extract_program(response) == program


@pytest.mark.parametrize(
    ("tests", "program", "reason", "passed"),
    [
        (STDIN, "a, b = map(int, input().split())\nprint(a + b)", "correct", 2),
        (STDIN, "print(3)", "wrong", 1),
        (STDIN, "import sys\nprint(sum(map(int, sys.stdin.read().split())), end='')", "correct", 2),
        (STDIN, "input(); input()", "runtime_error", 0),
        (STDIN, "a, b = map(int, input().split())\nprint(a + b)\nraise SystemExit(0)", "correct", 2),
        (STDIN, "if", "runtime_error", 0),
        (
            FUNCTION,
            "class Solution:\n    def twoSum(self, n, t):\n"
            "        return next((i, j) for j in range(9) for i in range(j) if n[i] + n[j] == t)",
            "correct",
            2,
        ),
        (FUNCTION, "from typing import *\ndef twoSum(n: List[int], t): return [0, 1]", "correct", 2),
        (FUNCTION, "def twoSum(n, t): return [1, 0]", "wrong", 0),
        (FUNCTION, "def other(n, t): return [0, 1]", "runtime_error", 0),
        (ASSERTS, "def f(x): return x + 1", "correct", 2),
        (ASSERTS, "def f(x): return x * 2", "wrong", 0),
        (ASSERTS, "def f(x): return x / 0", "runtime_error", 0),
        (ASSERTS, "import numpy\ndef f(x): return x + 1", "runtime_error", 0),
    ],
)
def test_each_kind_of_tests_judges(tests: str, program: str, reason: str, passed: int) -> None:
    (verdict,) = judge_programs([program], [tests])
    assert verdict.reason == reason, verdict
    assert verdict.num_passed == passed or (reason != "correct" and tests == ASSERTS)
    assert (verdict.detail == "") == (reason == "correct")


def test_arguments_changed_in_place_reach_the_tests() -> None:
    code = "a = [3, 1, 2]\nassert sort(a) is None\nassert a == [1, 2, 3]"
    tests = json.dumps({"type": "program", "entry_point": "sort", "preamble": "", "code": code})
    assert judge_programs(["def sort(a):\n    a.sort()"], [tests])[0].reason == "correct"
    assert judge_programs(["def sort(a):\n    sorted(a)"], [tests])[0].reason == "wrong"


def test_many_programs_keep_their_order_and_report_as_they_end() -> None:
    programs = [f"def f(x): return x + {1 if number % 3 else 2}" for number in range(30)]
    done: list[int] = []
    verdicts = judge_programs(programs, [ASSERTS] * 30, on_done=done.append)
    assert [verdict.reason == "correct" for verdict in verdicts] == [number % 3 != 0 for number in range(30)]
    assert sum(done) == 30


def test_responses_are_graded_by_their_tests() -> None:
    right, wrong = "Sure:\n```python\ndef f(x):\n    return x + 1\n```", "```python\ndef f(x): return 0\n```"
    grades = grade_responses("code", [right, wrong, "no", right], [""] * 4, ["stop"] * 3 + ["length"], tests=[ASSERTS] * 4)
    assert [(grade.correct, grade.reason) for grade in grades] == [
        (True, "correct"),
        (False, "wrong"),
        (False, "no_answer"),
        (False, "truncated"),
    ]
    assert grades[0].answer == "def f(x):\n    return x + 1"
    with pytest.raises(ValueError, match="needs the tests of every problem"):
        grade_responses("code", [right], ["x"], ["stop"], tests=[None])


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ("{", "Expecting|not JSON"),
        ('{"type": "unit"}', "type = 'unit' is not one of"),
        ('{"type": "stdin"}', "cases"),
        ('{"type": "stdin", "cases": []}', "cases"),
        ('{"type": "function", "entry_point": "f", "cases": [{"input": "1", "output": "{"}]}', "."),
        ('{"type": "program", "entry_point": "f", "preamble": "", "code": "assert ("}', "."),
    ],
)
def test_a_malformed_specification_is_refused(specification: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_tests(specification)


def test_bad_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="1 programs and 0 test specifications"):
        judge_programs(["x"], [])
    with pytest.raises(ValueError, match="timeout_seconds = 0"):
        judge_programs(["x"], [ASSERTS], timeout_seconds=0)
    with pytest.raises(ValueError, match="memory_bytes = 1 is not allowed"):
        SandboxLimits(memory_bytes=1)


def test_outputs_are_compared_as_livecodebench_does() -> None:
    assert is_same_output(" 1.0 2 \nyes\n\n", "1 2.00\nyes")
    assert not is_same_output("1\n2", "1 2")
    assert not is_same_output("0.30000000000000004", "0.3")
    assert is_same_result((1, (2, [3])), [1, [2, [3]]])
    assert not is_same_result([1, 2], [2, 1])


def test_rows_of_the_hub_become_specifications() -> None:
    private = base64.b64encode(
        zlib.compress(pickle.dumps(json.dumps([{"input": "2", "output": "4", "testtype": "functional"}])))
    )
    row = {
        "starter_code": "class Solution:\n    def double(self, x: int) -> int:\n        ",
        "public_test_cases": json.dumps([{"input": "1", "output": "2", "testtype": "functional"}]),
        "private_test_cases": private.decode(),
        "metadata": json.dumps({"func_name": "double"}),
    }
    tests = TEST_FORMATS["livecodebench"](row)
    assert len(json.loads(tests)["cases"]) == 2
    solution = "class Solution:\n    def double(self, x):\n        return 2 * x"
    assert judge_programs([solution, solution.replace("2 *", "2 +")], [tests] * 2)[0].reason == "correct"
    human = {
        "prompt": "def inc(x):\n    '''One more.'''\n",
        "test": "def check(candidate):\n    assert candidate(1) == 2\n",
        "entry_point": "inc",
    }
    assert judge_programs(["def inc(x): return x + 1"], [TEST_FORMATS["humaneval"](human)])[0].reason == "correct"
    mbpp = {"code": "def inc(x): return x + 1", "test_list": ["assert inc(1) == 2"], "test_imports": ["import math"]}
    assert judge_programs([mbpp["code"]], [TEST_FORMATS["mbpp"](mbpp)])[0].reason == "correct"  # type: ignore[list-item]


def test_tests_that_would_run_code_when_unpickled_are_refused() -> None:
    class Evil:
        def __reduce__(self) -> object:
            return (os.system, ("exit 7",))

    row = {
        "starter_code": "",
        "public_test_cases": "[]",
        "private_test_cases": base64.b64encode(zlib.compress(pickle.dumps(Evil()))).decode(),
        "metadata": "{}",
    }
    with pytest.raises(ValueError, match="only plain values are read"):
        TEST_FORMATS["livecodebench"](row)


def test_calls_of_another_problem_are_not_held_against_a_stdin_problem() -> None:
    row = {
        "starter_code": "",
        "public_tests": json.dumps([{"input": "1\n", "output": "2\n", "testtype": "stdin"}]),
        "extended_tests": json.dumps([{"input": '"7"', "output": "1", "testtype": "functional"}]),
    }
    specification = json.loads(TEST_FORMATS["livecodebench"](row))
    assert (specification["type"], len(specification["cases"])) == ("stdin", 1)


def test_livecodebench_problems_are_solved_by_programs_written_by_hand() -> None:
    if not (DATA / "livecodebench.parquet").exists():
        pytest.skip("livecodebench.parquet does not lie in the folder of local copies (LACONIC_DATA)")
    rows = {row["title"]: row for row in read_table(DATA / "livecodebench.parquet").to_pylist()}
    solutions = {
        "A. Short Sort": "for _ in range(int(input())):\n    s = input()\n"
        "    print('YES' if sum(a != b for a, b in zip(s, 'abc')) < 3 else 'NO')",
        "Leap Year": "y = int(input())\nprint(366 if y % 4 == 0 and (y % 100 or y % 400 == 0) else 365)",
    }
    tests = [TEST_FORMATS["livecodebench"](rows[title]) for title in solutions]
    verdicts = judge_programs([*solutions.values(), "print('NO')"], [*tests, tests[0]], timeout_seconds=3.0)
    assert [verdict.reason for verdict in verdicts] == ["correct", "correct", "wrong"]
