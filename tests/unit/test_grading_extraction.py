"""Where the answer stands: the last number, behind a mark, by a pattern; cut responses; patterns that never end."""

import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_lib.config import PromptSource, RecordedConfig, parse_config
from pipeline_lib.files.tables import read_table
from pipeline_lib.grading import extraction, grade_responses
from pipeline_lib.grading.extraction import find_answers
from pipeline_lib.grading.files import grade_file
from pipeline_lib.prompts.local_copies import source_identity
from pipeline_lib.records import AnswerRule, Grade

LAST_NUMBER = AnswerRule("last_number")
ENDLESS, ENDLESS_TEXT = r"(?:a|aa)+c|(\d+)$", "a" * 100 + "! c"


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("17 + 5 = 22.", "22"),
        ("Tom has 9 coins, that is 1,234.50 dollars!", "1234.50"),
        ("about 3/4 of it", "3/4"),
        ("so $x = -7$", "-7"),
        ("so x=−7", "-7"),
        ("17-5", "5"),
        ("(a)-5", "5"),
        ("range 5-7", "7"),
        ("a list: 1, 2", "2"),
        ("a list: 1,2", "2"),
        ("1,2345", "2345"),
        ("about .5 in all", ".5"),
        ("\\frac{3}{4} and no more", "\\frac{3}{4}"),
        ("-\\dfrac{13}{4}", "-\\dfrac{13}{4}"),
        ("12{,}345 and $12\\,345$", "12345"),
        ("5kg of H2O", "5"),
        ("x2", None),
        ("none", None),
        ("", None),
    ],
)
def test_the_last_number_is_read_with_its_sign_and_without_separators(response, answer):
    assert extraction.last_number(response) == answer


def test_a_very_long_response_is_read_at_once():
    start = time.perf_counter()
    assert extraction.last_number("1" * 300_000 + "," + "7," * 100_000 + "x-" * 50_000) == "7"
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("#### 5\nno:\n####   17 apples. \nDone 8", "17 apples"),
        ("####\n\n 17\n18", "17"),
        ("#### ", None),
        ("17", None),
    ],
)
def test_behind_a_mark_stands_the_rest_of_its_line_or_the_next_one(response, answer):
    assert extraction.behind("####", response) == answer


@pytest.mark.parametrize(
    ("pattern", "answer"),
    [
        (r"is (\d+)", "22"),
        (r"\d+", "22"),
        (r"(?:answer|total) is (?P<answer>\d+)", "21"),
        (r"sum is (\d+)|total is (\d+)", "21"),
        (r"is ()", None),
        (r"never", None),
    ],
)
def test_a_pattern_finds_its_last_match_and_the_group_that_is_the_answer(pattern, answer):
    text = "The total is 21. The sum was 8; it is 22."
    expected = (answer, "" if answer else "no_answer")
    assert find_answers(AnswerRule("pattern", pattern), [text, "nothing"], ["stop"] * 2) == [expected, (None, "no_answer")]


def test_a_pattern_that_never_ends_is_a_recorded_reason():
    texts = ["the answer is 8", ENDLESS_TEXT, "so 9"]
    start = time.perf_counter()
    grades = grade_responses("math", texts, ["8"] * 3, ["stop"] * 3, answer_rule=AnswerRule("pattern", ENDLESS))
    assert [grade.reason for grade in grades] == ["correct", "timeout", "wrong"]
    assert time.perf_counter() - start < 10


def test_a_process_that_is_killed_keeps_what_it_has_found(monkeypatch):
    monkeypatch.setattr(extraction, "START_TIMEOUT_SECONDS", 1.5)
    monkeypatch.setattr(extraction, "OVERRUN", 0)
    monkeypatch.setattr(extraction, "PATTERN_TIMEOUT_SECONDS", 60.0)
    found = extraction.find_pattern(ENDLESS, ["so 8", ENDLESS_TEXT, "so 9"])
    assert found == [("8", ""), (None, "timeout"), (None, "timeout")]


def test_many_texts_are_dealt_over_processes_in_order():
    texts = [f"it is {number}" for number in range(600)]
    assert extraction.find_pattern(r"is (\d+)", texts) == [(str(number), "") for number in range(600)]


@pytest.mark.parametrize("rule", [LAST_NUMBER, AnswerRule("after", "is"), AnswerRule("pattern", r"\d+")])
def test_a_cut_response_has_no_answer_that_may_be_half_written(rule):
    grades = grade_responses("math", ["it is 12", "it is 123"], ["12", "123"], ["length", "stop"], answer_rule=rule)
    assert grades == [Grade(None, False, "truncated"), Grade("123", True, "correct")]


def test_numbers_are_compared_by_the_maths_grader_and_as_text():
    grades = grade_responses("math", ["1,234 in all", "0.75 of it"], ["1234", "3/4"], ["stop"] * 2, answer_rule=LAST_NUMBER)
    assert [grade.correct for grade in grades] == [True, True]
    grades = grade_responses("exact", ["1,234 in all", "no"], ["1234", "3"], ["stop"] * 2, answer_rule=LAST_NUMBER)
    assert [grade.reason for grade in grades] == ["correct", "no_answer"]


def test_a_file_is_graded_by_the_rule(tmp_path: Path):
    rows = [
        {"gold": "22", "prediction": "\\boxed{1} so 22", "grader": "math", "finish_reason": "stop"},
        {"gold": "22", "prediction": "so 22", "grader": "math", "finish_reason": "length"},
        {"gold": "22", "prediction": "so 22", "grader": "exact", "finish_reason": None},
        {"gold": "22", "prediction": "so", "grader": "exact", "finish_reason": "stop"},
    ]
    path, out = tmp_path / "rows.parquet", tmp_path / "out.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    done = []
    grade_file(path, out, answer_rule=LAST_NUMBER, on_done=done.append)
    assert [row["reason"] for row in read_table(out).to_pylist()] == ["correct", "truncated", "correct", "no_answer"]
    assert sum(done) == 4


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"answer_from": "after"}, "answer_from = 'after' and answer_mark are needed together"),
        ({"answer_pattern": "x"}, "answer_from = 'pattern' and answer_pattern are needed together"),
        ({"answer_from": "pattern", "answer_pattern": "(x"}, "answer_pattern = '\\(x' is no regular expression: missing"),
        ({"answer_from": "last_number", "grader": "code", "tests_format": "mbpp"}, "is not for grader = 'code'"),
    ],
)
def test_a_rule_that_is_not_told_whole_is_refused(settings, complaint):
    tree = {"name": "sums", "kind": "file", "path": "sums.jsonl", **settings}
    with pytest.raises(ValueError, match=complaint):
        parse_config(tree, PromptSource)


def test_the_place_of_the_answer_counts_in_identities_only_where_given():
    plain = PromptSource(name="sums", kind="tiny", num_prompts=5)
    assert "answer_from" not in source_identity(plain)[0]
    after = plain.model_copy(update={"answer_from": "after", "answer_mark": "####"})
    assert source_identity(after)[0]["answer_mark"] == "####"
    recorded = RecordedConfig(name="r", rollouts_file="r.jsonl")
    assert recorded.run_id("d") != recorded.model_copy(update={"answer_from": "last_number"}).run_id("d")
