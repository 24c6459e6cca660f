"""The five styles, written out by hand, and the reading of responses line by line."""

import random

import pytest

from pipeline_lib.tiny_world.traces import LineResult, boxed_answer, draw_trace, line_results, style_of

PROBLEM = "7a+3b-2"


@pytest.mark.parametrize(
    ("problem", "style", "response"),
    [
        (PROBLEM, "count", "<think>\n7a+3 8+2 9+1 0+0\n0b-2 9-1 8-0\n</think>\n\\boxed{8}"),
        (PROBLEM, "table", "<think>\n7a+3=0\n0b-2=8\n</think>\n\\boxed{8}"),
        (PROBLEM, "fold", "<think>\n7a+3b-2=8\n</think>\n\\boxed{8}"),
        ("7a+3b-2c+1", "fold", "<think>\n7a+3b-2=8\n8c+1=9\n</think>\n\\boxed{9}"),
        (PROBLEM, "skip", "<think>\n</think>\n\\boxed{8}"),
        ("5a>3b<2", "count", "<think>\n5a>3 6>2 0>1 1>0\n1b<2 0<1 6<0\n</think>\n\\boxed{6}"),
        ("5a>3b<2", "table", "<think>\n5a>3=1\n1b<2=6\n</think>\n\\boxed{6}"),
    ],
)
def test_styles_by_hand(problem: str, style: str, response: str) -> None:
    trace = draw_trace(problem, style, random.Random(0))
    assert trace.response == response
    assert trace.style == style_of(response) == style


def test_verbose_restates_counts_rechecks_and_concludes() -> None:
    count = {"7a+3 8+2 9+1 0+0", "0b-2 9-1 8-0"}
    num_recounts = set()
    clauses = set()
    for seed in range(200):
        lines = draw_trace(PROBLEM, "verbose", random.Random(seed)).response.split("\n")
        assert lines[:2] == ["<think>", "okay the problem is 7a+3b-2"]
        assert lines[-3:] == ["so the answer is 8", "</think>", "\\boxed{8}"]
        arithmetic = [line.partition(" check ") for line in lines[2:-3] if line != "wait let me double check"]
        assert {line for line, _, _ in arithmetic} == count
        clauses |= {clause for _, _, clause in arithmetic}
        num_recounts.add(lines.count("wait let me double check"))
        assert len(arithmetic) == 2 * (1 + lines.count("wait let me double check"))
    assert num_recounts == {0, 1, 2}
    assert clauses == {"", "7a+3=0 ok", "0b-2=8 ok"}


def test_fold_of_one_operation_is_a_table_line() -> None:
    assert draw_trace("7a+3", "fold", random.Random(0)).style == "table"


def test_unknown_style_is_refused() -> None:
    with pytest.raises(ValueError, match="style = 'terse' is not one of count, verbose, table, fold, skip"):
        draw_trace(PROBLEM, "terse", random.Random(0))


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("<think>\n</think>\n\\boxed{8}", "8"),
        ("\\boxed{1} and \\boxed{2}", "2"),
        ("<think>\n</think>\n\\boxed{8} or so", None),
        ("<think>\n7a+3", None),
        ("\\boxed{}", None),
    ],
)
def test_boxed_answer(response: str, answer: str | None) -> None:
    assert boxed_answer(response) == answer


def test_right_needs_the_lines_own_arithmetic_and_follows_its_place() -> None:
    # Line 1 errs (7+3 is not 1); line 2 takes up that 1 and is right by itself.
    assert line_results(PROBLEM, "<think>\n7a+3=1\n1b-2=9\n</think>\n\\boxed{9}") == [
        LineResult("table", (3,), right=False, follows=True),
        LineResult("table", (2,), right=True, follows=True),
    ]
    # Line 2 is right by itself, but neither value nor operand is the problem's.
    assert line_results(PROBLEM, "<think>\n7a+3=0\n5b-1=4\n</think>\n\\boxed{4}") == [
        LineResult("table", (3,), right=True, follows=True),
        LineResult("table", (1,), right=True, follows=False),
    ]


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ("7a+3 8+2 9+1 0+0", True),
        ("7a+3 8+2 9+1 0+0 check 7a+3=0 ok", True),
        ("7a+3 8+2 9+1 0+0 check 7a+3=1 ok", False),
        ("7a+3 8+2 9+1", False),
        ("7a+3 8+2 0+1 1+0", False),
    ],
)
def test_a_count_line_is_right_only_as_a_whole(line: str, right: bool) -> None:
    assert line_results("7a+3", f"<think>\n{line}\n</think>\n") == [LineResult("count", (3,), right=right, follows=True)]


def test_a_recount_starts_again_at_the_problem() -> None:
    response = "<think>\n7a+3=0\n0b-2=8\nwait let me double check\n7a+3=0\n0b-2=8\n</think>\n\\boxed{8}"
    assert [line.follows for line in line_results(PROBLEM, response)] == [True] * 4


def test_a_line_cut_off_by_the_limit_is_not_judged() -> None:
    assert line_results(PROBLEM, "<think>\n7a+3=0\n0b-2=") == [LineResult("table", (3,), right=True, follows=True)]


def test_garbled_lines_are_wrong_not_an_error() -> None:
    response = "<think>\n7a+3=\n7a+3>\n7a+3b>2=1\n</think>\n"
    results = line_results(PROBLEM, response)
    assert [(line.style, line.right) for line in results] == [("table", False), ("count", False), ("fold", False)]


@pytest.mark.parametrize("response", ["", "8", "<think>\n7a+3=0\n", "<think>\nhello\n</think>\n\\boxed{1}"])
def test_other_is_no_style(response: str) -> None:
    assert style_of(response) == "other"
