"""The unit that a problem asks for decides which unit may stand behind a bare gold answer."""

import json
from pathlib import Path

import pytest

from pipeline_lib.grading import grade_responses
from pipeline_lib.grading.files import grade_file
from pipeline_lib.grading.maths.grader import judge_answers
from pipeline_lib.records import BOXED

# Problem, answers that are right for a bare gold answer, answers that are wrong for it.
CASES: list[tuple[str, list[str], list[str]]] = [
    ("What is the side, in centimeters?", [r"8\text{ cm}", r"8\text{ centimetres}"], [r"8\text{ kg}", r"8\text{ cm}^2"]),
    ("Find the height in $\\text{cm}$.", [r"8\text{ cm}", r"s=8\text{ cm}"], [r"8\text{ m}", r"8\text{ apples}", r"h=8\text{ m}"]),
    ("Find the area of the floor in square meters.", [r"8\text{ m}^2", r"8\text{ sq m}"], [r"8\text{ s}", r"8\text{ m}"]),
    ("What is the area in square meters of a room 4 m by 2 m?", [r"8\text{ square meters}"], [r"8\text{ m}", r"8\text{ cm}^2"]),
    ("What is the area of the square, in cm?", [r"8\text{ cm}", r"8\text{ cm}^2"], [r"8\text{ m}^2", r"8\text{ kg}"]),
    ("A square has an area of 64. What is its side, in cm?", [r"8\text{ cm}"], [r"8\text{ cm}^2"]),
    ("How many students are in the class?", [r"8\text{ students}", r"8\text{ people}", r"8\text{ girls}"], [r"8\text{ cm}", r"8\%"]),
    ("How many different necklaces can be made?", [r"8\text{ necklaces}", r"8\text{ ways}"], [r"8\text{ m}", r"\$8"]),
    ("How many minutes does it take to walk 3 km?", [r"8\text{ min}", r"8\text{ minutes}"], [r"8\text{ hours}", r"8\text{ km}"]),
    ("How many more gallons of water flow in?", [r"8\text{ gallons}", r"8\text{ gallons per minute}"], [r"8\text{ liters}"]),
    ("How many dollars does she earn per hour?", [r"\$8", r"8\text{ dollars per hour}"], [r"8\text{ hours}", r"8\text{ cents}"]),
    ("How many pages does he read an hour?", [r"8\text{ pages}", r"8\text{ pages per hour}"], [r"8\text{ hours}"]),
    ("What is her speed in miles per hour?", [r"8\text{ mph}", r"8\text{ miles/hour}"], [r"8\text{ km/h}", r"8\text{ miles}"]),
    ("What is the acceleration in $\\mathrm{m/s^2}$?", [r"8\text{ m/s}^2"], [r"8\text{ N}"]),
    ("What will it cost, in dollars?", [r"\$8.00", r"8\text{ dollars}"], [r"8\text{ euros}", r"8\text{ kg}"]),
    ("What is the price to the nearest cent?", [r"\$8", r"8\text{ dollars}"], [r"8\text{ hours}"]),
    ("What is the angle to the nearest degree?", [r"8^\circ", r"8\text{ degrees}"], [r"8\text{ rad}", r"8\text{ cm}"]),
    ("What is the mean in degrees Fahrenheit?", [r"8^\circ\text{F}", r"8^\circ"], [r"8\text{ cm}"]),
    ("What percent of the class is absent?", [r"8\%", r"8\text{ percent}"], [r"8\text{ cm}", r"8\text{ students}"]),
    ("The cord is $\\underline{\\hspace{1cm}}$ cm long.", [r"8\text{ cm}"], [r"8\text{ m}", r"8\text{ s}"]),
    ("The train needs ____ hours.", [r"8\text{ h}"], [r"8\text{ minutes}"]),
    ("What is the width? Give your answer in feet.", [r"8\text{ ft}"], [r"8\text{ in}", r"8\text{ seconds}"]),
    ("How many pounds does it weigh?", [r"8\text{ lb}", r"8\text{ pounds}"], [r"8\text{ kg}"]),
    # Nothing is known here, and every unit may stand.
    ("How much is left? Express your answer in simplest form.", [r"8\text{ cm}", r"\$8"], []),
    ("What is the length in terms of x?", [r"8\text{ cm}"], []),
    ("What was the growth in year 5?", [r"8\text{ cm}", r"8\%"], []),
    ("How many times as tall is it, and how far can it see?", [r"8\text{ km}"], []),
    ("How many rides are there, and what do they cost?", [r"\$8"], []),
    ("How many second graders did she see?", [r"8\text{ girls}", r"8\text{ students}"], []),
    ("The sides, in inches, are 2 and 4. What is the area?", [r"8\text{ square inches}"], []),
    ("How many feet and inches is it?", [r"8\text{ inches}"], []),
    ("(1) How many pots are there? (2) They ask for the total cost.", [r"\$8"], []),
    ("Find the answer in thousands of dollars.", [r"8\text{ km}"], []),
    ("", [r"8\text{ cm}"], []),
]  # fmt: skip


@pytest.mark.parametrize(("problem", "right", "wrong"), CASES, ids=[problem[:40] for problem, *_ in CASES])
def test_a_bare_gold_meets_the_unit_that_the_problem_asks_for(problem: str, right: list[str], wrong: list[str]) -> None:
    answers = ["8", *right, *wrong]
    reasons = judge_answers([(answer, "8") for answer in answers], 30.0, problems=[problem] * len(answers))
    assert dict(zip(answers, reasons, strict=True)) == {answer: "wrong" if answer in wrong else "correct" for answer in answers}


def test_a_gold_with_a_unit_and_a_list_are_judged_as_without_a_problem() -> None:
    problem = "What is the side, in centimeters?"
    pairs = [(r"80\text{ mm}", r"8\text{ cm}"), (r"2\text{ m}, 3\text{ m}", "2, 3"), ("8", r"8\text{ kg}")]
    assert judge_answers(pairs, 30.0, problems=[problem] * 3) == judge_answers(pairs, 30.0) == ["correct"] * 3
    with pytest.raises(ValueError, match="1 pairs and 0 problems"):
        judge_answers(pairs[:1], 1.0, problems=[])


def test_the_problem_counts_in_training_and_in_files(tmp_path: Path) -> None:
    problems = ["What is the side, in centimeters?", "What is the weight in kilograms?"]
    responses = [r"\boxed{8\text{ kg}}"] * 2
    grades = grade_responses("math", responses, ["8"] * 2, ["stop"] * 2, 30.0, problems=problems)
    assert [grade.reason for grade in grades] == ["wrong", "correct"]
    rows = [{"gold": "8", "prediction": responses[0], "problem": problem} for problem in [*problems, None]]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for rule in (None, BOXED):
        assert grade_file(path, timeout_seconds=30.0, answer_rule=rule)[0]["correct"] == 2
