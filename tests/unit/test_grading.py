"""Grading: the last box, the exact grader, and the order in which reasons apply."""

import logging

import pytest

from pipeline_lib.grading import extract_last_box, grade_responses
from pipeline_lib.grading.maths.answer_in_text import read_pair
from pipeline_lib.grading.maths.grader import judge_answers, judge_file_predictions
from pipeline_lib.grading.maths.tolerances import minerva_tolerance, olympiadbench_tolerance
from pipeline_lib.records import Grade


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("\\fbox{8}", "8"),
        ("\\fbox{7} or \\boxed{8}", "8"),
        ("\\boxed{7} or \\fbox{8}", "8"),
        ("\\boxed{7} or \\fbox{8", None),
        ("\\boxed{7} \\boxedtext{8}", "7"),
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
    with pytest.raises(ValueError, match="grader = 'essay' is not one of exact, math"):
        grade_responses("essay", [], [], [])  # type: ignore[arg-type]


def test_cheap_pairs_need_no_algebra():
    # A negative time limit would fail any comparison that reached a worker.
    pairs = [("\\sqrt{2}", "\\sqrt{2}"), ("12", "12"), ("007", "7"), ("+7", "7"), ("12", "13"), ("$9$", "9"), ("-3", "3")]
    expected = ["correct", "correct", "correct", "correct", "wrong", "correct", "wrong"]
    assert judge_answers(pairs, timeout_seconds=-1.0) == expected


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
        ("1:00", "12:00", "wrong"),
        ("1", "\\frac{1}{0}", "error"),
    ],
)
def test_the_math_grader_judges_values_not_text(answer, gold, reason):
    (grade,) = grade_responses("math", [f"\\boxed{{{answer}}}"], [gold], ["stop"], timeout_seconds=30.0)
    assert grade == Grade(answer, reason == "correct", reason)


def test_failures_are_logged_with_their_number(caplog):
    with caplog.at_level(logging.WARNING, logger="pipeline_lib.grading"):
        grade_responses("math", ["\\boxed{1}", "\\boxed{1}"], ["\\frac{1}{0}", "1"], ["stop"] * 2, timeout_seconds=30.0)
    assert [record.getMessage() for record in caplog.records] == ["0 of 2 answers timed out and 1 failed in grading"]


# Gold answer || answer, each way round the same.
RIGHT = r"""
R^2-r^2 || (R-r)(R+r)
3 || three
\frac{\pi r}{h+R} || \frac{r\pi}{R+h}
N+1 || n+1
10500 || 10,500
10500 || 10 500
33,\!800 || 33800
1/2 || \frac12
1/2 || .5
\frac94\pi || \frac{9\pi}{4}
1\frac12 || 3/2
2 1/2 || 2.5
7.8\times 10^2 || 780
1.2e3 || 1200
50\% || 50
50\% || 0.5
30^\circ || 30
30^\circ || 30°
\$132 || 132
441\text{ pounds} || 441
5 cm || 5\text{ centimeters}
0.5\text{ m} || 50\text{ cm}
0.\overline{3} || 1/3
(1,2) || ( 1 , 2 )
x=1\text{ or }x=2 || 2, 1
1,2,3 || \{3,2,1\}
(1,3,5) || 1,3,5
1,2 || 1.2
(0,1] || ]0,1]
(-\infty,1]\cup[10,+\infty) || c \in \left(-\infty, 1\right]\cup[10,+\infty)
0<x<1 || (0,1)
x \ge 5 || [5,\infty)
x\geq 5 || 5 \leq x
4\pm\sqrt2 || 4-\sqrt{2}, 4+\sqrt{2}
\begin{pmatrix}1\\2\end{pmatrix} || \begin{bmatrix} 1 \\ 2 \end{bmatrix}
\begin{pmatrix}1/2 & 0\\2 & 1\end{pmatrix} || \begin{pmatrix}0.5&0\\2&1\end{pmatrix}
\text{(A)} || A
B || \textbf{(B)}\ 12
\text{Evelyn} || Evelyn
x^2+2x+1 || (x+1)^2
y=2x+1 || 2x+1
f(x)=2x+1 || f(x) = 1+2x
2x+4y-3=0 || y=-\frac12x+\frac34
2^{10} || 1024
2^{2025} || 2\cdot 2^{2024}
\sqrt{8} || 2\sqrt2
\frac{1}{3} || 0.3333
\pi || 3.1416
3\sqrt{2}\text{ cm} || 3\sqrt2
12:00 || 12:00
\left\{1,2\right\} || \{2, 1\}
\frac{\sqrt3}{2} || \frac{1}{2}\sqrt{3}
i^2 || -1
(1+i)^2 || 2i
e^{i\pi} || -1
\binom{5}{2} || 10
5! || 120
\frac{(x+1)^2}{x+1} || x+1
x\in\{1,2\} || x=1 \text{ or } x=2
(p,q)=(3,2) || (3,2)
a=1,b=2 || b=2,a=1
(1,2),(3,4) || (3,4), (1,2)
\{(1,2),(3,4)\} || (1,2) \text{ and } (3,4)
-\frac{3}{2} || \frac{-3}{2}
-3/2 || -1.5
\$5.00 || 5
5\text{ dollars} || \$5
1,000,000 || 1000000
10^6 || 1,000,000
\tan 60° || \sqrt{3}
\mathbb{R} || \mathbb{R}
\log_2 8 || 3
\infty || \infty
2\pi r || 2r\pi
abc || bca
10\% || 1/10
\dfrac{3}{4} \text{ hours} || 45\text{ minutes}
no solution || No solution.
\text{No real solutions} || no real solutions
3-2i || -2i+3
x=5 || 5
5 || x=5
x>3 || 3<x
\frac{1}{\sqrt{2}} || 0.70711
100,200 || 200, 100
2:3 || 2 : 3
x < -1 \text{ or } x > 1 || (-\infty,-1)\cup(1,\infty)
17 \text{ min} || 17 minutes
0 || -0
\frac{a}{b} || a/b
8\sqrt{6}\approx 19.6 || 8\sqrt6
19.6\text{ m/s} || 19.6
\text{2 and 3} || 2,3
60 || 60 degrees
\{\} || \emptyset
x+y=1 || y+x=1
2+3=5 || x=5
60^\circ || 60\text{ degrees}
2\text{ rad} || 2\text{ radians}
12\pi\text{ cm}^3 || 12\pi
9.8 \mathrm{~m/s^2} || 9.8 \text{ m/s}^2
7^{\text{th}} || 7
1.234.567 || 1234567
0,125 || 0.125
10^{-4} || 10⁻⁴
2^{10} || 2¹⁰
x_1=2, x_2=3 || x₁=2, x₂=3
1⅜ || \frac{11}{8}
2½ || 5/2
1,3,5,\ldots || 1, 3, 5, \dots
(4343)_6 || 4343_{6}
4343_6 || 4343_{\text{six}}
C || \text{Option C}
\text{parabola} || a parabola
\text{no solution} || No solutions
\frac{22}{7} || \frac{22}{7}\approx 3.14
3.1415 || \pi\approx 3.1415
A || A. 5
5 || \int_0^5 1 dx
0 || \lim_{n\to\infty}\frac1n
e || \lim_{n\to\infty}(1+\frac1n)^n
5 || \sum_{k=1}^5 1
n(n+1)/2 || \sum_{k=1}^{n} k
12:30 am || 00:30
3:15 pm || 15:15
xy || yx
"""

WRONG = r"""
R-r || 0
R+r || 2r
A_1+a || 2a
2t || 2
0.64N || 0.64
(1,2) || (2,1)
[0,1) || (0,1)
[0,1] || (0,1)
(1,2) || \{1,2\}
1,2,3 || 1,2
1,2 || 1,2,3
1 || 1,2
50\% || 5
0.75 || 75
5\text{ cm} || 5\text{ m}
10^{-10} || 2\times 10^{-10}
1.39\times10^{-10} || 1.5\times10^{-10}
LQSX || LXQS
2x+z=1 || 1
1 || 2x+z=1
a^2+b=0 || 0
A || B
A || \text{(B)}
\frac13 || 0.33
\frac13 || 0.333
\pi || 3.14
\pi || 22/7
4210_5 || 4210_7
x<5 || x>5
x<5 || x\leq 5
x=1 || y=1
\begin{pmatrix}1\\2\end{pmatrix} || \begin{pmatrix}2\\1\end{pmatrix}
\{1,2\} || \{1,3\}
4\pm\sqrt2 || 4+\sqrt{2}
x^2 || x^3
2\sqrt{2} || 2\sqrt{3}
1,000 || 1
12:00 || 1:00
Yes || No
\text{odd} || even
7 || \text{none}
1/2 || 2/1
100! || 101!
3.14 || 3.15
45° || 54°
(1,3) || 1,3
5 || -5
2^{2024} || 2^{2025}
(2,\infty) || [2,\infty)
x\in\{1,2\} || x\in\{1,3\}
\infty || -\infty
3:45\text{ p.m.} || 3:45\text{ a.m.}
0.1234567 || 0.1234568
2017 || 2018
A,B || A,C
1\frac{1}{2} || \frac{11}{2}
x+1 || x-1
\sin x || \cos x
\frac{1}{2}\text{ hour} || 20 minutes
13p-30 || 13p
16 || 16\pi
216 || 216\pi
-1 || (a_3)^9
-80\leq g(x)\leq 82 || -80, 82.5
\mathbb{R} || \mathbb{Z}
(1,2),(3,4) || (1,4),(3,2)
10 || 10\sqrt{1.0001}
x^2+y^2=1 || x^2+y^2=2
y=2x+1 || y=2x-1
3 || 3, \text{ because } 1+2=3
x+y=1 || x-y=1
a+b=5 || x=5
\theta=3 || \alpha=3
60^\circ || 60\text{ radians}
12\pi\text{ cm} || 12\pi\text{ m}
12,345 || 12.345
1.234.567 || 1.234
2¹⁰ || 210
10⁻⁴ || 10-4
4343₆ || 43436
1⅜ || \frac{13}{8}
4343_6 || 4343_{\text{seven}}
(4343)_6 || 4343_7
C || \text{Option D}
7 || 0\approx0.5\approx1\approx1.5\approx7
5.9 || 5\approx5.9
4 || 3.4\approx4
x=6 || x=5\approx5.5\approx6
A || A. B
B || A. B
A || (A) B
A || (A) (B) C
C || (A) (B) C
51 || \int_0^5 1 dx
\frac{\partial f}{\partial x} || \frac{\partial g}{\partial y}
12:30 pm || 00:30
3:15 am || 15:15
no || on
5 || 1e5000
5 || or or
5 || \begin{cases}\end{cases}
5 || 0.(3)\overline{5}
"""


def read_cases(text: str) -> list[tuple[str, str]]:
    cases = [tuple(line.split(" || ")) for line in text.strip().splitlines()]
    return [(gold, answer) for gold, answer in cases]


@pytest.mark.parametrize(("cases", "reason"), [(RIGHT, "correct"), (WRONG, "wrong")])
def test_forms_of_answers(cases, reason):
    pairs = read_cases(cases)
    both = [(answer, gold) for gold, answer in pairs] + pairs
    reasons = judge_answers(both, timeout_seconds=30.0)
    assert [pair for pair, given in zip(both, reasons, strict=True) if given != reason] == []


def test_numbers_beyond_computing_are_timeouts_at_once():
    answers = ["9^{9^{9^9}}", "10^{10^{10}}", "2**3**9**9", "(10^9)!", "100000!", "5!!!!!", "\\binom{10000000}{5000000}"]
    assert judge_answers([(answer, "\\sqrt{5}") for answer in answers], timeout_seconds=-1.0) == ["timeout"] * len(answers)


def test_what_crashes_a_comparison_is_an_error_and_ends_nothing():
    answers = ["10^{4400}\\text{ hours }30\\text{ minutes}", "\\pi\\approx10^{4400}"]
    assert set(judge_answers([(answer, "5") for answer in answers], timeout_seconds=30.0)) <= {"error", "wrong"}
    pairs = [("10^{5000}", "52_8"), (f"{'1' * 4400}_3", "52_8"), ("52_8", "52_8")]
    assert judge_answers(pairs, timeout_seconds=30.0)[2] == "correct"


def test_a_tolerance_is_absolute_and_a_problems_own():
    pairs = [
        ("4.25", "4.2"),
        ("4.25", "4.2"),
        ("4.31", "4.2"),
        ("0.65", "\\frac{\\sqrt{2}}{2}"),
        ("0.6054", "\\cos^{10}(\\frac{\\pi}{10})"),
    ]
    reasons = judge_answers(pairs, 30.0, tolerances=[0.1, None, 0.1, 0.1, 1e-4])
    assert reasons == ["correct", "wrong", "wrong", "correct", "correct"]
    with pytest.raises(ValueError, match="1 pairs and 2 tolerances"):
        judge_answers([("1", "1")], 1.0, tolerances=[None, None])


def test_tolerances_of_benchmarks():
    assert olympiadbench_tolerance(None) is None
    assert olympiadbench_tolerance("1e-1") == pytest.approx(0.101)
    assert minerva_tolerance("x^2") is None
    assert minerva_tolerance("3 \\times 10^{8}") == pytest.approx(3000)
    assert minerva_tolerance("1.39 \\times 10^{-10}") == pytest.approx(1.39e-12)
    assert minerva_tolerance("46.08, 46.08") == pytest.approx(46.08e-5 + 1e-8)


@pytest.mark.parametrize(
    ("prediction", "gold", "answer", "reason"),
    [
        ("24/125", "\\frac{24}{125}", "24/125", "correct"),
        ("$4,5$", "5, 4", "$4,5$", "correct"),
        ("33.5\\%", "0.335", "33.5\\%", "correct"),
        ("So \\boxed{5}", "$5$", "5", "correct"),
        ("The answer is 5, or rather \\boxed{6}", "5", "6", "wrong"),
        ("\\boxed{5} and then \\boxed{6", "5", None, "no_answer"),
        ("\\boxed{1} and \\boxed{2}", "\\boxed{2} and \\boxed{1}", "1, 2", "correct"),
        (
            "\\boxed{255}, so in the end they have more. The final answer is $10,455$. I hope it is correct.",
            "10455",
            "10,455",
            "correct",
        ),
        ("We try 3, then 4. The answer is 12.", "12", "12", "correct"),
        ("We try 12, then 4. The answer is 3.", "12", "3", "wrong"),
        ("The solution is $x \\leq 5$", "x \\geq 5", "x \\leq 5", "wrong"),
        ("The lines meet at $(1,2)$, not at $(2,1)$", "(1,2)", "(1,2)", "correct"),
        ("It can't be A, so the answer is (C).", "C", "C", "correct"),
        ("C. It can't be A.", "(C)", "C", "correct"),
        ("\u56e0\u6b64\u7b54\u6848\u662f 13/28\u3002", "\\frac{13}{28}", "13/28", "correct"),
        ("42", "So the answer is: \\[ \\boxed{42} \\]", "42", "correct"),
        ("2\u00b9\u2070", "1024", "2\u00b9\u2070", "correct"),
        ("x\u2081=2, x\u2082=3", "x_1=2, x_2=3", None, "correct"),
        ("", "5", None, "no_answer"),
    ],
)
def test_predictions_in_files_are_read_in_all_their_forms(prediction, gold, answer, reason):
    (verdict,) = judge_file_predictions([gold], [prediction], timeout_seconds=30.0)
    assert verdict.reason == reason
    assert verdict.correct == (reason == "correct")
    assert answer is None or verdict.correct or read_pair(gold, prediction)[1] == answer


def test_training_reads_no_answer_outside_a_box():
    responses = ["The answer is 5.", "\\boxed{1} and \\boxed{2}"]
    grades = grade_responses("math", responses, ["5", "1, 2"], ["stop"] * 2, timeout_seconds=30.0)
    assert grades == [Grade(None, False, "no_answer"), Grade("2", False, "wrong")]


def test_every_verdict_is_announced_once():
    seen = {}
    verdicts = judge_file_predictions(["1", "x+1", "2"], ["1", "1+x", "\\boxed{"], 30.0, on_done=seen.__setitem__)
    assert [seen[index] for index in range(3)] == verdicts
    assert [verdict.reason for verdict in verdicts] == ["correct", "correct", "no_answer"]
    with pytest.raises(ValueError, match="1 gold answers and 0 predictions"):
        judge_file_predictions(["1"], [])


DENIED = r"""
5 || not 5
5 || at least 5
5 || about 5
5 || less than 5
5 || \text{not }5
5 || 5 is not the answer
5 || The answer is not 5.
5 || The answer isn't 5.
5 || The answer is negative 5
5 || The answer is not $5$.
5 || 5\text{ or more}
5 || The answer is $5$ or more.
5 || \textcolor{white}{6}5
5 || \boxed{}5
2024 || It was in 2024. I cannot answer.
A || not A
B || B is not the answer
B || The answer is either B or C
C || The answer is either B or C
5 || greater than: 5
5 || Upper bound: 5
5 || half of it is 5
5 || Half of the answer is 5
5 || Twice the answer is 5.
5 || The answer doubled is 5
5 || The answer squared is 5
5 || The answer is less than: 5
5 || The opposite of the answer is 5
5 || at most: 5
5 || The negative of the answer is 5
5 || The answer plus one is 5
5 || One less than the answer is 5
5 || If the answer is 5 then it is wrong
5 || I doubt that it is 5
5 || It could be 5
5 || It might be 5.
5 || Maybe 5
5 || Is it 5?
5 || Possibly 5
5 || 5 or maybe 6
5 || The answer is 5 or 6
5 || The answer is 5, no, 6
5 || The answer is 5 tens
5 || The answer is 5 squared
5 || The answer is 5 million
5 || The answer is 5 percent off
5 || The answer is 5 times 6
5 || The answer is 5 plus 6
5 || The answer is 5 hundredths
5 || The answer is 5 to 6
5 || The answer is 5-6
5 || The answer is somewhere around 5
5 || The answer is everything but 5
5 || Anything except 5
5 || The wrong answer is 5
5 || The bound is 5
5 || An upper bound is 5
5 || The answer is \phantom{6}5
5 || The answer is $\phantom{6}5$
5 || The answer is 56 without the 6, so 5 6
5 || My answer: 5 6
5 || answers: 1, 2, 3, 4, 5
5 || The answer is one of 4, 5
5 || The answer is $5$ or $6$
5 || The answer is $6$ or $5$
5 || Choose between 4 and 5
5 || 5 5 5 6
5 || 1 2 3 4 5
5 || Candidates: 3, 4, 5
5 || The answer is 5!
5 || The answer is 5x
5 || The answer is 5 dozen
5 || The answer is 5/6
5 || The answer is x>5
5 || The answer is x=5 or x=6
"""

STATED = r"""
18 || #### 18
18 || 9*2=18\n#### 18
#### 18 || 18
9*2=18\n#### 18 || 18
at least 3 || at least 3
5 || It is not 3, so the answer is 5.
5 || The answer is 5. I think 7 is not the answer.
12 || There are 12 of them. I hope it is correct.
5 || She has 5 apples left.
5 || Half of 10 is 5.
5 || She goes there 5 times.
5 || The side of the square is 5
5 || She needs 5 more.
B || The answer is not A but B.
"""


@pytest.mark.parametrize(("cases", "is_right"), [(DENIED, False), (STATED, True)])
def test_prose_states_its_answer_or_has_none(cases, is_right):
    pairs = [(gold.replace("\\n", "\n"), text.replace("\\n", "\n")) for gold, text in read_cases(cases)]
    outcomes = judge_file_predictions(*zip(*pairs, strict=True), timeout_seconds=30.0)
    assert [pair for pair, outcome in zip(pairs, outcomes, strict=True) if outcome.correct != is_right] == []


def test_an_empty_box_is_no_answer_whatever_stands_behind_it():
    assert read_pair("5", "\\boxed{}5") == ("5", None)
