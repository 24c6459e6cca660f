"""Mathematical equality of two answers: text and exact numbers first, then math-verify in worker processes that can be killed.

The rule for an answer, its paths and their limits are described in docs/grading.md.
"""

from collections.abc import Callable, Sequence
from time import perf_counter

from pipeline_lib.grading.maths.compare import compare_answers
from pipeline_lib.grading.maths.limits import is_beyond_computing
from pipeline_lib.grading.maths.normal_form import normalise
from pipeline_lib.grading.maths.pool import Question, maths_pool
from pipeline_lib.grading.maths.process import Outcome

__all__ = ["AnswerPair", "Outcome", "judge_answers", "judge_pairs"]

AnswerPair = tuple[str, str]


def judge_answers(
    pairs: Sequence[AnswerPair], timeout_seconds: float, tolerances: Sequence[float | None] | None = None
) -> list[str]:
    """For each (answer, gold): correct, wrong, timeout (over the limit) or error (the comparison crashed).

    `tolerances` holds the absolute error each problem's benchmark allows in a number, or None for the general rule: decimals may
    differ by 1e-8, absolutely and relative to the gold one. An answer that would need numbers beyond computing, such as a tower
    of powers, is a timeout at once. Raises ValueError when the sequences differ in length, RuntimeError when the worker
    processes cannot be started at all.
    """
    return [outcome.reason for outcome in judge_pairs(pairs, timeout_seconds, tolerances)]


def judge_pairs(
    pairs: Sequence[AnswerPair],
    timeout_seconds: float,
    tolerances: Sequence[float | None] | None = None,
    on_done: Callable[[int, Outcome], None] | None = None,
) -> list[Outcome]:
    """As `judge_answers`, with the seconds each comparison took; `on_done` is called with each position and outcome."""
    if tolerances is not None and len(tolerances) != len(pairs):
        raise ValueError(f"{len(pairs)} pairs and {len(tolerances)} tolerances: need one of each")
    outcomes: list[Outcome | None] = []
    questions: dict[int, Question] = {}
    for index, (answer, gold) in enumerate(pairs):
        started = perf_counter()
        tolerance = None if tolerances is None else tolerances[index]
        decided = _decide_without_algebra(answer, gold, tolerance)
        outcome = None
        if isinstance(decided, str):
            outcome = Outcome(decided, perf_counter() - started)
            if on_done is not None:
                on_done(index, outcome)
        else:
            questions[index] = decided
        outcomes.append(outcome)
    if questions:
        _decide_by_algebra(questions, outcomes, timeout_seconds, on_done)
    return [outcome for outcome in outcomes if outcome is not None]


def _decide_by_algebra(
    questions: dict[int, Question],
    outcomes: list[Outcome | None],
    timeout_seconds: float,
    on_done: Callable[[int, Outcome], None] | None,
) -> None:
    indices = list(questions)

    def place(position: int, outcome: Outcome) -> None:
        outcomes[indices[position]] = outcome
        if on_done is not None:
            on_done(indices[position], outcome)

    maths_pool().judge(list(questions.values()), timeout_seconds, place)


def _decide_without_algebra(answer: str, gold: str, tolerance: float | None) -> str | Question:
    """The reason, or the question that is left for the workers."""
    if (answer.strip() == gold.strip() and answer.strip()) or ((normal := normalise(answer)) and normal == normalise(gold)):
        return "correct"
    node = compare_answers(gold, answer, tolerance)
    if isinstance(node, bool):
        return "correct" if node else "wrong"
    return "timeout" if is_beyond_computing(node) else (node, tolerance)
