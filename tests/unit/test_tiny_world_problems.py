"""The grammar of the tiny task, worked by hand, and the drawing of problems."""

import subprocess
import sys
from collections import Counter

import pytest

from pipeline_lib.config import PromptSource, parse_config
from pipeline_lib.tiny_world.problems import FAMILIES, answer_of, draw_problems, parse_problem, problems_of_length, split_of


@pytest.mark.parametrize(
    ("problem", "answer"),
    [
        ("7a+3b-2", "8"),  # 7 -> 10 = 0 -> -2 = 8
        ("0a-1", "9"),
        ("9a+6b+6c-1", "0"),  # 9 -> 15 = 5 -> 11 = 1 -> 0
        ("5a>3b<2", "6"),  # mod 7: 5 -> 8 = 1 -> -1 = 6
        ("6a>1", "0"),
        ("0a<6b<6", "2"),  # mod 7: 0 -> -6 = 1 -> -5 = 2
    ],
)
def test_answers_by_hand(problem: str, answer: str) -> None:
    assert answer_of(problem) == answer


def test_parse_keeps_labels_signs_and_operands() -> None:
    parsed = parse_problem("7a+3b-2")
    assert parsed.family is FAMILIES["sum"]
    assert parsed.start == 7
    assert [(o.label, o.sign, o.operand) for o in parsed.operations] == [("a", "+", 3), ("b", "-", 2)]
    assert str(parsed) == "7a+3b-2"


@pytest.mark.parametrize("text", ["", "7", "7a+", "a+3", "7a+3b-2=8", "7a+33", " 7a+3", "7A+3"])
def test_text_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a start digit and labelled operations"):
        parse_problem(text)


def test_mixed_families_are_refused() -> None:
    with pytest.raises(ValueError, match="mixes the signs of the families sum, wheel"):
        parse_problem("7a+3b>2")


def test_the_120_shortest_problems_are_shared_out_over_the_splits() -> None:
    members = {split: set(problems_of_length("sum", split, 1, 1000, 0, 6)) for split in ("train", "validation", "test")}
    everything = {f"{start}a{sign}{operand}" for start in range(10) for sign in "+-" for operand in range(1, 7)}
    assert sum(map(len, members.values())) == 120
    assert set.union(*members.values()) == everything


def test_split_shares_are_about_50_10_40() -> None:
    shares = Counter(
        split_of(f"{start}a+{a}b-{b}c+{c}") for start in range(10) for a in range(1, 7) for b in range(1, 7) for c in "123456"
    )
    total = sum(shares.values())
    assert shares["train"] / total == pytest.approx(0.50, abs=0.04)
    assert shares["validation"] / total == pytest.approx(0.10, abs=0.03)
    assert shares["test"] / total == pytest.approx(0.40, abs=0.04)


def test_number_of_operations_is_uniform_where_problems_abound() -> None:
    prompts = draw_problems("sum", "train", 280, seed=0)
    lengths = Counter(len(parse_problem(prompt.problem).operations) for prompt in prompts)
    assert lengths == dict.fromkeys(range(1, 8), 40)


def test_longer_problems_fill_up_where_short_ones_run_out() -> None:
    num_short = len(problems_of_length("sum", "test", 1, 1000, 0, 6))
    prompts = draw_problems("sum", "test", 200, seed=3, max_operations=2)
    lengths = Counter(len(parse_problem(prompt.problem).operations) for prompt in prompts)
    assert num_short < 100
    assert lengths == {1: num_short, 2: 200 - num_short}


def test_prompts_are_complete_and_stable() -> None:
    prompts = draw_problems("wheel", "validation", 20, seed=1)
    assert prompts == draw_problems("wheel", "validation", 20, seed=1)
    assert prompts != draw_problems("wheel", "validation", 20, seed=2)
    first = prompts[0]
    assert (first.prompt_id, first.source, first.domain) == (f"wheel-{first.problem}", "tiny-wheel", "tiny")
    assert first.answer == answer_of(first.problem)


def test_more_prompts_than_problems_names_what_exists() -> None:
    available = len(problems_of_length("sum", "train", 1, 1000, 0, 6))
    with pytest.raises(ValueError, match=rf"num_prompts = 121: only {available} distinct problems .* 1\.\.1 operations"):
        draw_problems("sum", "train", 121, seed=0, max_operations=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "ring"}, "family = 'ring': Input should be 'sum' or 'wheel'"),
        ({"split": "dev"}, "split = 'dev' is not one of train, validation, test"),
        ({"num_prompts": 0}, "num_prompts = 0: Input should be greater than 0"),
        ({"min_operations": 3, "max_operations": 2}, "max_operations = 2 is below min_operations = 3"),
        ({"max_operations": 27}, "max_operations = 27: Input should be less than or equal to 26"),
        ({"max_operand": 10}, "max_operand = 10: Input should be less than or equal to 9"),
    ],
)
def test_bad_requests_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_config({"name": "tiny", "kind": "tiny", "num_prompts": 5, **arguments}, PromptSource)


def test_problems_and_traces_load_without_torch() -> None:
    code = "import sys, pipeline_lib.tiny_world.traces; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
