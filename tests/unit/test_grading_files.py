"""`laconic grade`: verdicts for the rows of a file, with any grader, and the refusals."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.files.tables import read_table
from pipeline_lib.grading.files import grade_file
from pipeline_lib.records import BOXED, AnswerRule

ADD_TESTS = json.dumps({"type": "program", "entry_point": "add", "preamble": "", "code": "assert add(1, 2) == 3"})


def write(tmp_path: Path, rows: list[dict[str, Any]]) -> Path:
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_rows_keep_their_columns_and_get_a_verdict_each(tmp_path: Path) -> None:
    program = "Here:\n```python\ndef add(a, b):\n    return a + b\n```"
    rows = [
        {"gold": "0.5", "prediction": "so \\boxed{\\frac12}", "source": "a", "note": 1},
        {"gold": "7", "prediction": "The answer is 8", "source": "a", "note": 2},
        {"gold": "x", "prediction": " x ", "grader": "exact", "source": "b"},
        {"gold": "2", "prediction": "\\boxed{2} but then \\boxed{", "source": "b"},
        {"prediction": program, "grader": "code", "tests": ADD_TESTS, "source": "c"},
        {"prediction": "def add(a, b):\n    return a", "grader": "code", "tests": json.loads(ADD_TESTS), "source": "c"},
    ]
    out, seen = tmp_path / "out.parquet", []
    summary = grade_file(write(tmp_path, rows), out, on_start=seen.append, on_done=seen.append)
    graded = read_table(out).to_pylist()
    assert [(row["correct"], row["reason"]) for row in graded] == [
        (True, "correct"),
        (False, "wrong"),
        (True, "correct"),
        (False, "no_answer"),
        (True, "correct"),
        (False, "wrong"),
    ]
    assert [row["note"] for row in graded[:2]] == [1, 2]
    assert all(row["seconds"] >= 0 for row in graded)
    assert seen[0] == 6 and sum(seen[1:]) == 6
    assert [(row["source"], row["answers"], row["correct"]) for row in summary] == [
        ("a", 2, 1),
        ("b", 2, 1),
        ("c", 2, 1),
        ("all", 6, 3),
    ]


def test_labels_are_compared(tmp_path: Path) -> None:
    rows = [
        {"gold": "2", "prediction": "2", "label": True},
        {"gold": "2", "prediction": "2", "label": False},
        {"gold": "2", "prediction": "3", "label": True},
    ]
    (everything,) = grade_file(write(tmp_path, rows), grader="exact")
    assert everything["agree with label (%)"] == "33.33"
    assert (everything["false positives"], everything["false negatives"]) == (1, 1)


def test_a_rule_reads_as_training_does_and_a_row_may_allow_an_error(tmp_path: Path) -> None:
    rows = [
        {"gold": "2", "prediction": "\\boxed{1} and \\boxed{2}"},
        {"gold": "5", "prediction": "\\boxed{4}. Wait, the final answer is 5."},
        {"gold": "9.8", "prediction": "\\boxed{9.8001}", "tolerance": 0.001},
        {"gold": "9.8", "prediction": "\\boxed{9.8001}"},
    ]
    out = tmp_path / "out.jsonl"
    for rule, expected in [(BOXED, [True, False, True, False]), (None, [False, True, True, False])]:
        grade_file(write(tmp_path, rows), out, answer_rule=rule)
        assert [row["correct"] for row in read_table(out).to_pylist()] == expected
    with pytest.raises(ValueError, match="timeout = 0 is not allowed"):
        grade_file(write(tmp_path, rows), timeout_seconds=0.0)
    with pytest.raises(ValueError, match="tolerance = 'much' in row 1: a tolerance is a finite number of at least 0"):
        grade_file(write(tmp_path, [rows[0] | {"tolerance": "much"}]))


@pytest.mark.parametrize(
    ("rows", "grader", "message"),
    [
        ([{"gold": "1", "pred": "1"}], "math", "has no column prediction"),
        ([{"gold": "", "prediction": "1"}], "math", "no row has a gold answer"),
        ([{"gold": "1", "prediction": "1"}], "fuzzy", "grader = 'fuzzy' is not one of exact, math, code"),
        ([{"gold": "1", "prediction": "1"}], "code", "no row has tests, which grader = 'code' needs"),
        ([{"gold": "1", "prediction": ["1"]}], "math", "column prediction holds list in row 1, not text"),
        ([{"gold": "1", "prediction": "1", "correct": True}], "math", "already has the column correct"),
        ([{"gold": "1", "prediction": "1", "label": "maybe"}], "exact", "label = 'maybe' in row 1 is neither true nor false"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(
    tmp_path: Path, rows: list[dict[str, Any]], grader: str, message: str
) -> None:
    out = tmp_path / "out.csv"
    with pytest.raises(ValueError, match=message):
        grade_file(write(tmp_path, rows), out, grader)
    with pytest.raises(ValueError, match="does not end in"):
        grade_file(write(tmp_path, [{"gold": "1", "prediction": "1"}]), tmp_path / "out.txt", "exact")
    assert not out.exists()


def test_functions_and_choices_judge_rows_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    judge = "def grade(response, prompt):\n    return prompt['metadata']['unit'] in response, 'its unit'\n"
    (tmp_path / "unit_judge.py").write_text(judge, encoding="utf-8")
    rows = [
        {"prediction": "2 cm", "unit": "cm", "problem": None},
        {"prediction": "2 m", "unit": "cm", "problem": None},
        {"prediction": "so (B)", "gold": "y", "grader": "choice", "problem": "Which?\n(A) x\n(B) y"},
        {"prediction": "The answer is (B)", "gold": "y", "grader": "choice", "problem": "Which?\n(A) x\n(B) y"},
    ]
    out = tmp_path / "out.jsonl"
    summary = grade_file(write(tmp_path, rows), out, function="unit_judge:grade")
    graded = read_table(out).to_pylist()
    assert [row["reason"] for row in graded] == ["correct: its unit", "wrong: its unit", "no_answer", "correct"]
    assert summary[-1]["correct"] == 2 and summary[-1]["not correct"] == "wrong 1, no_answer 1"
    with pytest.raises(ValueError, match="grader = 'python' needs a function"):
        grade_file(write(tmp_path, rows), grader="python")
    with pytest.raises(ValueError, match="function = 'unit_judge:grade' is for grader = 'python', not 'gym'"):
        grade_file(write(tmp_path, rows), grader="gym", function="unit_judge:grade")
    with pytest.raises(ValueError, match="'unit_judge' is not of the form module:name"):
        grade_file(write(tmp_path, rows), function="unit_judge")


def test_a_rule_is_for_choices_and_functions_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "whole_judge.py").write_text("def grade(response, prompt):\n    return response.startswith('I')\n", "utf-8")
    choice = {"gold": "y", "grader": "choice", "problem": "Which?\n(A) x\n(B) y"}
    rows = [
        choice | {"prediction": "Final: (B)\nThe answer is (A)"},
        choice | {"prediction": "Final: y", "finish_reason": "length"},
        choice | {"prediction": "The answer is (B)"},
        {"prediction": "I see.", "grader": "python"},
        {"prediction": "I see.", "grader": "python", "finish_reason": "length"},
    ]
    out = tmp_path / "out.jsonl"
    grade_file(write(tmp_path, rows), out, answer_rule=AnswerRule("after", "Final:"), function="whole_judge:grade")
    reasons = [row["reason"] for row in read_table(out).to_pylist()]
    assert reasons == ["correct", "truncated", "no_answer", "correct", "truncated"]
