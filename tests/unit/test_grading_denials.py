"""Prose that names a number without stating it as the answer, by kinds and in the languages that are read, beside prose that states it."""

import time

import pytest

from pipeline_lib.grading.maths.grader import judge_file_predictions

DENIED = """
5 || 5 (wrong)
5 || Answer: 5 (incorrect)
5 || I would have said 5 but that is wrong
5 || The answer is half of 5
5 || The answer is the square root of 5
5 || The answer is 5 more than 6.
5 || The answer is 5 factorial
5 || The answer is 5 over 7.
5 || The answer is 5 out of 7
5 || The answer is 5 divided by 2
5 || The answer is 3 times 5
12 || The answer is 12. Wait, it is 13.
12 || The answer is 12. Actually, it should be 13.
12 || So the answer is 12, or is it 13?
12 || Nobody knows whether the answer is 12
12 || The answer is unlikely to be 12
12 || The answer is close to 12
12 || The answer differs from 12
12 || The answer is a multiple of 12
12 || The answer is divisible by 12
12 || The answer is the remainder mod 12
12 || The answer is the reciprocal of 12
12 || The number of digits of the answer is 12
12 || The answer has 12 digits
12 || Problem 12
12 || The answer to question 12 is unknown
12 || An incorrect answer would be 12
12 || The answer plus 1 is 12
12 || 12 is larger than the answer
12 || Guess: 12
12 || Die Antwort ist nicht 12
12 || Die Antwort ist 12 oder 13
12 || Die Antwort ist mindestens 12
12 || La réponse n'est pas 12
12 || La réponse est 12 ou 13
12 || La réponse est au moins 12
12 || La respuesta no es 12
12 || La respuesta es aproximadamente 12
12 || A resposta não é 12
12 || A resposta é 12 ou 13
12 || La risposta non è 12
12 || La risposta è circa 12
12 || Ответ не 12
12 || Ответ: 12 или 13
12 || 答案不是12
12 || 答案大约是12
12 || 答案是12的一半
12 || 答案是12或13
12 || 答えは12ではない
12 || 答えは12または13
B || Answer: B & C
B || Answer: B or maybe C
"""
STATED = """
5 || It leaves a remainder of 5.
5 || There are exactly 5 divisors of 16.
5 || She has 5 fewer apples.
5 || The answer is not 6 but 5.
5 || After 3 steps the answer is 5
5 || Wait, I made an error. The answer is 5.
5 || Die Antwort lautet 5.
5 || La respuesta final es $5$.
5 || 答えは5です。
7 || El resultado no es 6, sino que la respuesta es 7.
7 || 所以不是6，答案是7。
1, 2 || The solutions are $x=1$ and $x=2$.
"""
RUNS = ("\n", " ", "$", "_", "#", "$ \n", "1;", "not ", "answer is ")


@pytest.mark.parametrize(("cases", "is_right"), [(DENIED, False), (STATED, True)])
def test_what_prose_denies_is_no_answer(cases, is_right):
    pairs = [line.split(" || ") for line in cases.strip().splitlines()]
    outcomes = judge_file_predictions(*zip(*pairs, strict=True), timeout_seconds=30.0)
    assert [pair for pair, outcome in zip(pairs, outcomes, strict=True) if outcome.correct != is_right] == []


@pytest.mark.parametrize("run", RUNS)
def test_long_runs_are_read_in_no_time(run):
    start = time.monotonic()
    text = "The answer is" + run * (100_000 // len(run))
    judge_file_predictions(["5", text], [text, "5"], timeout_seconds=5.0)
    assert time.monotonic() - start < 5.0
