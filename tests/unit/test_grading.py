"""Grading: the last box, the exact grader, and the order in which reasons apply."""

import logging
from pathlib import Path

import pytest

from pipeline_lib.grading import extract_last_box, grade_responses
from pipeline_lib.grading.maths import judge_answers, strip_dollars
from pipeline_lib.records import Grade

GRADING_CASES = Path(__file__).parents[3] / "shared" / "data" / "grading_public.parquet"


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("so \\boxed{8}", "8"),
        ("\\boxed{1} no, \\boxed{ 2 }.", "2"),
        ("\\boxed{\\frac{1}{2}} is it", "\\frac{1}{2}"),
        ("\\boxed {3}", "3"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{\\left\\{1, 2\\right.}", "\\left\\{1, 2\\right."),
        ("\\boxed{a \\\\ b}", "a \\\\ b"),
        ("\\boxed{\\boxed{5}}", "5"),
        ("the answer is 8", None),
        ("", None),
        ("\\boxed{}", None),
        ("\\boxed{  }", None),
        ("\\boxed{8", None),
        ("\\boxed 8", None),
        ("\\boxed", None),
        ("\\boxed{8\\", None),
        ("\\boxed{8} and then \\boxed{9", None),
        ("\\boxed{8} in the form \\boxed{}", None),
    ],
)
def test_only_the_last_box_counts_and_only_when_whole(response, answer):
    assert extract_last_box(response) == answer


def test_the_exact_grader_compares_the_box_as_text():
    grades = grade_responses("exact", ["\\boxed{ 8 }", "\\boxed{08}", "8"], ["8 ", "8", "8"], ["stop"] * 3)
    assert grades == [Grade("8", True, "correct"), Grade("08", False, "wrong"), Grade(None, False, "no_answer")]


@pytest.mark.parametrize("grader", ["exact", "math"])
def test_a_truncated_response_is_never_correct_but_shows_its_answer(grader):
    grades = grade_responses(grader, ["\\boxed{8} so", "hm", "\\boxed{8}"], ["8"] * 3, ["length", "length", "stop"])
    assert grades == [Grade("8", False, "truncated"), Grade(None, False, "truncated"), Grade("8", True, "correct")]


def test_sequences_of_different_length_are_refused():
    with pytest.raises(ValueError, match="2 responses, 1 answers and 2 finish reasons"):
        grade_responses("exact", ["a", "b"], ["a"], ["stop", "stop"])


def test_an_unknown_grader_is_refused():
    with pytest.raises(ValueError, match="grader = 'code' is not one of exact, math"):
        grade_responses("code", [], [], [])  # type: ignore[arg-type]


def test_cheap_pairs_need_no_algebra():
    # A negative time limit would fail any comparison that reached a worker.
    pairs = [("\\sqrt{2}", "\\sqrt{2}"), ("12", "12"), ("007", "7"), ("+7", "7"), ("12", "13"), ("$9$", "9"), ("-3", "3")]
    expected = ["correct", "correct", "correct", "correct", "wrong", "correct", "wrong"]
    assert judge_answers(pairs, timeout_seconds=-1.0) == expected


@pytest.mark.parametrize(
    ("text", "bare"), [("$x$", "x"), (" $$x$$ ", "x"), ("$5", "$5"), ("$a$ and $b$", "$a$ and $b$"), ("$", "")]
)
def test_strip_dollars(text, bare):
    assert strip_dollars(text) == bare


@pytest.mark.parametrize(
    ("answer", "gold", "reason"),
    [
        ("\\frac{1}{2}", "0.5", "correct"),
        ("x^2+2x+1", "(x+1)^2", "correct"),
        ("2\\sqrt{2}", "\\sqrt{8}", "correct"),
        ("(1,2)", "(2,1)", "wrong"),
        ("\\frac{1}{3}", "0.5", "wrong"),
        ("$\\frac12$", "1/2", "correct"),
        ("x+y", "x-y", "wrong"),
        ("1:00", "12:00", "error"),
    ],
)
def test_the_math_grader_judges_values_not_text(answer, gold, reason):
    (grade,) = grade_responses("math", [f"\\boxed{{{answer}}}"], [gold], ["stop"], timeout_seconds=30.0)
    assert grade == Grade(answer, reason == "correct", reason)


def test_failures_are_logged_with_their_number(caplog):
    with caplog.at_level(logging.WARNING, logger="pipeline_lib.grading"):
        grade_responses("math", ["\\boxed{1:00}", "\\boxed{1}"], ["12:00", "1"], ["stop"] * 2, timeout_seconds=30.0)
    assert [record.getMessage() for record in caplog.records] == ["0 of 2 answers timed out and 1 failed in grading"]


@pytest.mark.skipif(not GRADING_CASES.is_file(), reason=f"no public grading cases at {GRADING_CASES}")
def test_agreement_with_labelled_answers():
    import pyarrow.parquet as pq

    cases = [row for row in pq.read_table(GRADING_CASES).to_pylist() if row["source"].startswith(("prm800k/", "gsm8k/"))][::8]
    responses = [f"\\boxed{{{case['prediction']}}}" for case in cases]
    grades = grade_responses("math", responses, [case["gold"] for case in cases], ["stop"] * len(cases), timeout_seconds=30.0)
    agreement = sum(grade.correct == case["label"] for grade, case in zip(grades, cases, strict=True)) / len(cases)
    assert len(cases) > 120
    assert agreement > 0.97
