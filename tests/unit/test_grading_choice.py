"""Multiple choice: which letter a response chooses, and which responses choose none."""

import time

import pytest

from pipeline_lib.grading import grade_responses
from pipeline_lib.grading.choice import extract_choice, gold_letter, options_in, render_options

PROBLEM = "What is the capital of France?\nA. London\nB. Paris\nC. Rome\nD. Paris, Texas"
OPTIONS = options_in(PROBLEM)


@pytest.mark.parametrize(
    "response",
    [
        "The answer is (B)",
        "The answer is B.",
        "the final answer is **B**",
        "Answer: B",
        "**Answer:** (b)",
        "The correct option is B because Paris is the capital.",
        "so \\boxed{B}",
        "so \\boxed{\\text{(B)}}",
        "so \\boxed{B. Paris}",
        "so \\boxed{Paris}",
        "\\boxed{A}? No: \\boxed{B}",
        "<answer>B</answer>",
        "<answer> paris </answer>",
        "I think of it.\nB",
        "I think of it.\n(B).",
        "I think of it.\n**Paris**",
        "The answer is B. Indeed, the answer is (B).",
        "<think>The answer is A. Or the answer is C.</think>The answer is B.",
        "Answer: $\\boxed{B}$",
    ],
)
def test_the_letter_that_is_chosen(response: str) -> None:
    assert extract_choice(response, OPTIONS) == "B"


@pytest.mark.parametrize(
    "response",
    [
        "",
        "The answer is Paris, I think, or maybe Rome, who knows.",
        "The answer is A. No, the answer is B.",
        "It is not true that the answer is B.",
        "I cannot say that the answer is (B).",
        "The answer is (B)?",
        "The answer is E.",
        "\\boxed{E}",
        "\\boxed{A or B}",
        "\\boxed{A, B}",
        "\\boxed{B. Rome}",
        "\\boxed{London and Paris}",
        "The answer is a good question.",
        "The answer is I don't know.",
        "The answer is A matter of taste.",
        "Both A and B could be",
        "Bad",
        "The answer is Berlin",
        "The answer is B's neighbour",
        "<answer>A B</answer>",
        "A. London\nB. Paris",
    ],
)
def test_what_is_ambiguous_or_unknown_chooses_nothing(response: str) -> None:
    assert extract_choice(response, OPTIONS) is None


def test_what_repeats_itself_to_the_last_token_is_read_at_once() -> None:
    started = time.perf_counter()
    assert extract_choice("the answer is B " * 8_000, OPTIONS) == "B"
    assert extract_choice("the answer is not B " * 8_000, OPTIONS) is None
    assert extract_choice("answer:" + " *" * 30_000, OPTIONS) is None
    assert extract_choice("A. x" + " " * 60_000 + "y", OPTIONS) is None
    assert options_in("(A) x" + " " * 60_000 + "(B) y ; (C) z, ") == {"A": "x", "B": "y", "C": "z"}
    assert time.perf_counter() - started < 5


def test_an_option_that_stands_twice_is_no_answer_by_its_text() -> None:
    twice = "Which?\n(A) red\n(B) blue\n(C) red"
    assert extract_choice("\\boxed{red}", options_in(twice)) is None
    assert extract_choice("\\boxed{blue}", options_in(twice)) == "B"
    assert extract_choice("\\boxed{C}", options_in(twice)) == "C"


def test_options_are_read_from_the_problem() -> None:
    assert options_in(PROBLEM) == {"A": "London", "B": "Paris", "C": "Rome", "D": "Paris, Texas"}
    assert options_in("Which is it? (A) 1 (B) 2 (C) 3") == {"A": "1", "B": "2", "C": "3"}
    assert options_in("A) 1\nB) 2") == {"A": "1", "B": "2"}
    assert options_in("Vitamin A. is one. No options.") == options_in("A. only one") == {}
    assert options_in(render_options("Which?", ["1", "2\n3"])) == {"A": "1", "B": "2 3"}


def test_gold_answers_are_places_labels_letters_or_texts() -> None:
    options = ["3", "1", "0", "7"]
    assert gold_letter(1, options) == "B"
    assert gold_letter("C", options) == "C"
    assert gold_letter("0", options) == "C"
    assert gold_letter("2", options, ["1", "2", "3", "4"]) == "B"
    for answer in ("9", 4, -1, True, "E"):
        with pytest.raises(ValueError, match="is not one of 4 options"):
            gold_letter(answer, options)
    with pytest.raises(ValueError, match="letters go to J"):
        gold_letter(0, [str(number) for number in range(11)])


def test_grades() -> None:
    responses = ["The answer is (B)", "The answer is C", "Hmm", "The answer is (B)"]
    finishes = ["stop", "stop", "stop", "length"]
    grades = grade_responses("choice", responses, ["B", "Paris", "(B)", "B"], finishes, problems=[PROBLEM] * 4)
    assert [(grade.answer, grade.reason) for grade in grades] == [
        ("B", "correct"),
        ("C", "wrong"),
        (None, "no_answer"),
        ("B", "truncated"),
    ]
