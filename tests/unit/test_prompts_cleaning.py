"""Cleaning and decontamination: each rule, their precedence, and the overlaps recorded with the data."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from time import process_time

import pytest

from benchmarks.prompt_cleaning import BENCHMARKS, TRAINING_SETS, benchmark_overlaps, read_problems
from pipeline_lib.config import CleaningConfig
from pipeline_lib.records import Prompt
from pipeline_lib.selection.cleaning import REASONS, clean_prompts
from pipeline_lib.selection.decontamination import word_ngrams
from pipeline_lib.selection.normalise import normalise_answer, normalise_problem
from pipeline_lib.selection.pictures import find_missing_picture

REPOSITORY = Path(__file__).parents[2]
DATA = Path(os.environ.get("LACONIC_DATA", REPOSITORY.parent / "shared" / "data"))
NEEDS_DATA = pytest.mark.skipif(
    not all((DATA / f"{name}.parquet").is_file() for name in (*TRAINING_SETS, *BENCHMARKS)),
    reason="the training sets and benchmarks are not in the data folder (LACONIC_DATA)",
)
# As recorded in the data's description: rows of the benchmark with the same text, and with the same text or n-grams.
RECORDED = {
    "deepscaler_train": {"math500": (5, 19), "olympiadbench": (1, 6)},
    "greso_math_train": {"amc23": (7, 22), "amc2223": (13, 44), "math500": (6, 28), "olympiadbench": (10, 49)},
}
WORDS = [f"word{number}" for number in range(16)]


def prompt(prompt_id: str, problem: str, answer: str = "1") -> Prompt:
    return Prompt(prompt_id=prompt_id, source="test", domain="math", problem=problem, answer=answer)


def reasons(prompts, benchmarks=None, **rules) -> list[str]:
    return [verdict.reason for verdict in clean_prompts(prompts, benchmarks or {}, CleaningConfig(**rules))]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (r"Find $\left( \dfrac{1}{2} \right)^2$.", r"find \(\frac12^2\)"),
        ("What is  1+1 ?", "what is 1+1"),
        (r"Let $a\,b \quad c$; ~then", "LET ab c then"),
        (r"\{1, 2, \ldots\}", r"12\ldots"),
        (r"$\bigl[x\Big]$", "[x]"),
        ("½ of ２", "1⁄2 of 2"),
    ],
)
def test_the_same_problem_in_another_notation_is_one_text(left, right):
    assert normalise_problem(left) == normalise_problem(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [("2+2", "2-2"), ("x^2", "x_2"), ("a<b", "a>b"), (r"\rightarrow x", r"\arrow x"), ("12", "13"), ("a=b", "a/b")],
)
def test_operators_digits_and_other_commands_stay(left, right):
    assert normalise_problem(left) != normalise_problem(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (r"\dfrac {17}{20}", r"\frac{17}{20}"),
        (r"\frac13", "1/3"),
        (r"\dfrac 3 8", "0.375"),
        ("14", "14.0"),
        ("097", "97"),
        ("907,200", "907200"),
        (r"\[ S = 502 \]", "502"),
        (r"$25\%$", "25"),
        (r"84^{\circ}", "84"),
        (r"\$ 160", "160"),
        (r"5\text{ cm}", "5"),
        (r"12\text{ cm}^2", "12"),
        (r"\boxed{\frac{1}{2}}", ".5"),
        (r"2\\sqrt{3}", r"2\sqrt{3}"),
        (r"-\frac{4}{2}", "-2"),
        (r"\text{Evelyn}", "Evelyn"),
    ],
)
def test_formatting_of_an_answer_is_forgiven(left, right):
    assert normalise_answer(left) == normalise_answer(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1", "-1"),
        ("12", "1.2"),
        (r"\frac{1}{2}", "2"),
        ("1,2", "12"),
        ("0.333", "1/3"),
        ("(1,2)", "[1,2)"),
        ("3^2", "32"),
        ("10_2", "10_3"),
        ("1/0", "0"),
        ("9" * 5000, "9" * 4999),
    ],
)
def test_answers_that_differ_stay_apart(left, right):
    assert normalise_answer(left) != normalise_answer(right)


@pytest.mark.parametrize(
    "problem",
    [
        "In the diagram, $ABCD$ is a square. Find $x$.",
        "The adjoining figure has area 3.",
        "Squares are arranged as shown. What is the perimeter?",
        "What is the area of the figure below?",
        "What does ![Image](https://example.org/a.png) show?",
        r"\includegraphics{cube} How many faces?",
        "The wheel shown is spun twice.",
        "A triangle is placed on a line (see figure). Find its height.",
        "如图，圆$C$与$x$轴相切于点$T(2,0)$，求圆$C$的方程。",
    ],
)
def test_a_problem_that_points_outside_its_text_needs_a_picture(problem):
    words = find_missing_picture(problem)
    assert words is not None
    assert words in problem
    assert reasons([prompt("a", problem)]) == ["needs_picture"]
    assert reasons([prompt("a", problem)], pictures=False) == ["kept"]


@pytest.mark.parametrize(
    "problem",
    [
        "Find all two-figure numbers divisible by 7.",
        "A figure skating team has 5 members.",
        "In order to figure out the sum, Ann adds 3.",
        "A connected figure consists of 4 cells. What is the perimeter of the figure?",
        "Shift the graph to the right by 2 units.",
        "The probability of drawing a red ball is shown to be 1/2.",
        "It can be shown that $x$ is an integer. The point is in the image of $f$.",
        "How many edges has the complete graph on 5 vertices?",
        r"The counts are shown in the table: \begin{tabular}{cc} 1 & 2 \end{tabular}",
        r"In the diagram below \begin{tabular}{cc} 1 & 2 \end{tabular} fill in the rest.",
        "In the diagram, find $x$. [asy] draw((0,0)--(1,1)); [/asy]",
        r"As shown. \begin{tikzpicture} \draw (0,0) -- (1,1); \end{tikzpicture}",
        "函数 $f(x)$ 的图像关于直线 $x=1$ 对称",
        "See the [digits](https://example.org/wiki/Digit) of 12.",
    ],
)
def test_a_problem_with_all_it_needs_is_kept(problem):
    assert find_missing_picture(problem) is None


def test_of_repeated_problems_the_first_stays():
    prompts = [
        prompt("a", "What is 1+1?", "2"),
        prompt("b", "Name a prime.", "2"),
        prompt("c", "What is 1+1?", "2.0"),
        prompt("d", "what is $1 + 1$", r"\frac{4}{2}"),
        prompt("e", "what is $1 + 1$", "2"),
    ]
    verdicts = clean_prompts(prompts, {}, CleaningConfig())
    assert [v.reason for v in verdicts] == ["kept", "kept", "exact_duplicate", "normalised_duplicate", "exact_duplicate"]
    assert [v.kept for v in verdicts] == [True, True, False, False, False]
    assert verdicts[2].detail == "same text as a"
    assert verdicts[3].detail == "same text as a after normalisation"
    assert verdicts[4].detail == "same text as d"
    assert reasons(prompts, duplicates=False) == ["kept"] * 5


def test_of_prompts_with_conflicting_answers_none_stays():
    prompts = [prompt("a", "What is 1+1?", "2"), prompt("b", "what is 1 + 1", "3"), prompt("c", "What is 1+2?", "3")]
    verdicts = clean_prompts(prompts, {}, CleaningConfig())
    assert [v.reason for v in verdicts] == ["conflicting_answers", "conflicting_answers", "kept"]
    assert verdicts[1].detail == "2 prompts have this text and their answers conflict: '2' of a, '3' of b"
    assert reasons(prompts, conflicting_answers=False) == ["kept", "normalised_duplicate", "kept"]


def test_an_empty_answer_goes_first_and_takes_no_other_prompt_along():
    prompts = [prompt("a", "What is 1+1?", " "), prompt("b", "What is 1+1?", "2")]
    assert reasons(prompts) == ["empty_answer", "kept"]


def test_half_of_the_ngrams_of_a_benchmark_problem_are_enough():
    # 16 words have four 13-grams.
    problem = prompt("eval-1", " ".join(WORDS))
    two = prompt("two", "Start: " + " ".join(WORDS[:14]) + " and on.")
    one = prompt("one", " ".join(WORDS[:13]) + " and on.")
    verdicts = clean_prompts([two, one], {"bench": [problem]}, CleaningConfig())
    assert [v.reason for v in verdicts] == ["benchmark_ngrams", "kept"]
    assert verdicts[0].detail == "holds 2 of the 4 word 13-grams of eval-1 of bench"
    assert reasons([two], {"bench": [problem]}, ngram_overlap=0.51) == ["kept"]
    assert reasons([one], {"bench": [problem]}, ngram_words=12, ngram_overlap=0.4) == ["benchmark_ngrams"]
    assert reasons([two], {"bench": [problem]}, decontaminate=False) == ["kept"]


def test_the_share_is_of_the_benchmark_problem_and_lies_in_one_prompt():
    problem = prompt("eval-1", " ".join(WORDS))
    long = prompt("long", " ".join(WORDS) + " more" * 200)
    halves = [prompt("left", " ".join(WORDS[:13])), prompt("right", " ".join(WORDS[3:]))]
    assert benchmark_overlaps([long], {"bench": [problem]})["bench"].ngrams == ["eval-1"]
    assert benchmark_overlaps(halves, {"bench": [problem]})["bench"].same_text_or_ngrams == []


def test_short_problems_are_found_by_their_text_only():
    short = prompt("eval-1", "What is $1 + 1$?")
    training = [prompt("a", "what is 1+1"), prompt("b", "So what is 1 + 1?")]
    overlap = benchmark_overlaps(training, {"bench": [short]})["bench"]
    assert (overlap.same_text, overlap.ngrams) == (["eval-1"], [])
    assert [pair.total for pair in overlap.pairs] == [0]
    assert word_ngrams("one two", 3) == set()


def test_every_rule_that_matches_yields_to_the_first_in_order():
    text = "In the diagram, what is the area of the square $ABCD$ if its side is one less than its perimeter?"
    bench = {"bench": [prompt("eval-1", text)]}
    group = [prompt("a", text, "1"), prompt("b", text, "2"), prompt("c", text, "")]
    assert reasons(group, bench) == ["needs_picture", "needs_picture", "empty_answer"]
    assert reasons(group, bench, pictures=False) == ["benchmark_text", "benchmark_text", "empty_answer"]
    assert reasons(group, pictures=False) == ["conflicting_answers", "conflicting_answers", "empty_answer"]
    agreeing = [replace(member, answer="1") for member in group]
    assert reasons(agreeing, pictures=False) == ["kept", "exact_duplicate", "exact_duplicate"]


@NEEDS_DATA
def test_the_recorded_overlaps_are_found_again():
    benchmarks = {name: read_problems(DATA, name) for name in BENCHMARKS}
    for training_set in TRAINING_SETS:
        overlaps = benchmark_overlaps(read_problems(DATA, training_set), benchmarks)
        found = {name: (len(o.same_text), len(o.same_text_or_ngrams)) for name, o in overlaps.items()}
        assert found == dict.fromkeys(BENCHMARKS, (0, 0)) | RECORDED[training_set]
        if training_set == "deepscaler_train":
            named = {f"math500-intermediate_algebra-{number}" for number in (1849, 1411, 90, 2146, 1365)}
            assert set(overlaps["math500"].same_text) == named
            assert overlaps["olympiadbench"].same_text == ["olympiad-1930"]


@NEEDS_DATA
def test_deepscaler_is_cleaned_in_seconds_and_every_prompt_has_a_reason():
    benchmarks = {name: read_problems(DATA, name) for name in BENCHMARKS}
    prompts = read_problems(DATA, "deepscaler_train")
    start = process_time()
    verdicts = clean_prompts(prompts, benchmarks, CleaningConfig())
    assert process_time() - start < 15  # 5 s on an idle machine
    assert [verdict.prompt_id for verdict in verdicts] == [p.prompt_id for p in prompts]
    counts = Counter(verdict.reason for verdict in verdicts)
    assert set(counts) == set(REASONS)
    assert counts["empty_answer"] == 2
    drawn_in_text = [p.prompt_id for p in prompts if "[asy]" in p.problem]
    assert len(drawn_in_text) == 907
    pictures = {verdict.prompt_id for verdict in verdicts if verdict.reason == "needs_picture"}
    assert pictures.isdisjoint(drawn_in_text)
