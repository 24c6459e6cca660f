"""Mathematical equality of two answers: by their types (see table.py), the values of expressions in worker processes that can be killed.

The rule for an answer, its paths and their limits are described in docs/grading.md.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

from pipeline_lib.grading.maths.answer_in_text import read_pair
from pipeline_lib.grading.maths.lexer import lex
from pipeline_lib.grading.maths.nodes import holds
from pipeline_lib.grading.maths.table import compare_answers
from pipeline_lib.grading.pool import Outcome, Program, Request, worker_pool

MATHS = Program(Path(__file__).with_name("deciding.py"))

logger = logging.getLogger(__name__)


def judge_answers(
    pairs: Sequence[tuple[str | None, str]],
    timeout_seconds: float,
    tolerances: Sequence[float | None] | None = None,
    problems: Sequence[str | None] | None = None,
) -> list[str]:
    """For each (answer, gold): correct, wrong, no_answer (None), timeout (over the limit) or error (the comparison crashed).

    `tolerances` holds the absolute error each problem's benchmark allows in a number, or None for the general rule: decimals may
    differ by 1e-8, absolutely and relative to the gold one. `problems` holds the texts that tell in which unit a gold answer without
    one is. An answer that would need numbers beyond computing, such as a tower
    of powers, is a timeout at once. Raises ValueError when the sequences differ in length, RuntimeError when the worker
    processes cannot be started at all.
    """
    return [outcome.reason for outcome in judge_pairs(pairs, timeout_seconds, tolerances, problems=problems)]


def judge_file_predictions(
    golds: Sequence[str],
    predictions: Sequence[str],
    timeout_seconds: float = 5.0,
    on_done: Callable[[int, Outcome], None] | None = None,
    tolerances: Sequence[float | None] | None = None,
    problems: Sequence[str | None] | None = None,
) -> list[Outcome]:
    """As `judge_pairs`, for texts from files: either may be bare, in dollars, boxed, or a whole response (see `read_pair`).

    Unlike `grade_responses` this reads responses without a box.
    """
    if len(golds) != len(predictions):
        raise ValueError(f"{len(golds)} gold answers and {len(predictions)} predictions: need one of each")
    pairs = [_read_pair(prediction, gold) for gold, prediction in zip(golds, predictions, strict=True)]
    return judge_pairs(pairs, timeout_seconds, tolerances, on_done, problems)


def judge_pairs(
    pairs: Sequence[tuple[str | None, str]],
    timeout_seconds: float,
    tolerances: Sequence[float | None] | None = None,
    on_done: Callable[[int, Outcome], None] | None = None,
    problems: Sequence[str | None] | None = None,
) -> list[Outcome]:
    """As `judge_answers`, with the seconds each comparison took; `on_done` gets each position and outcome, in no fixed order."""
    for name, given in (("tolerances", tolerances), ("problems", problems)):
        if given is not None and len(given) != len(pairs):
            raise ValueError(f"{len(pairs)} pairs and {len(given)} {name}: need one of each")
    tolerances, problems = tolerances or [None] * len(pairs), problems or [None] * len(pairs)
    outcomes: dict[int, Outcome] = {}
    questions: dict[int, Request] = {}

    def place(index: int, outcome: Outcome) -> None:
        outcomes[index] = outcome
        if on_done is not None:
            on_done(index, outcome)

    for index, (answer, gold) in enumerate(pairs):
        started = perf_counter()
        decided = _decide_without_algebra(answer, gold, tolerances[index], problems[index])
        if isinstance(decided, str):
            place(index, Outcome(decided, perf_counter() - started))
        else:
            questions[index] = decided
    if questions:
        indices = list(questions)
        worker_pool(MATHS).judge(
            list(questions.values()), timeout_seconds, lambda position, outcome: place(indices[position], outcome)
        )
    return [outcomes[index] for index in range(len(pairs))]


def _read_pair(prediction: str, gold: str) -> tuple[str | None, str]:
    """Prediction and gold as `read_pair` reads them; what crashes it is compared as it is, and found to be an error there."""
    try:
        return read_pair(gold, prediction)[::-1]
    except Exception:
        return prediction, gold


def _decide_without_algebra(answer: str | None, gold: str, tolerance: float | None, problem: str | None) -> str | Request:
    """The reason, or the question that is left for the workers."""
    if answer is None:
        return "no_answer"
    try:
        return _decide_by_types(answer, gold, tolerance, problem)
    except Exception:  # one answer, which a model may have made up to that end, must not end the run
        logger.debug("an answer of %d characters crashed its comparison", len(answer), exc_info=True)
        return "error"


def _decide_by_types(answer: str, gold: str, tolerance: float | None, problem: str | None) -> str | Request:
    if is_same_text(gold, answer):
        return "correct"
    if gold.isdigit() and answer.isdigit() and tolerance is None and gold.isascii() and answer.isascii():
        return "correct" if gold.lstrip("0") == answer.lstrip("0") else "wrong"
    node = compare_answers(gold, answer, tolerance, problem)
    if isinstance(node, bool):
        return "correct" if node else "wrong"
    return (
        "timeout" if holds(node, "beyond") else "error" if holds(node, "undefined") else {"node": node, "tolerance": tolerance}
    )


def is_same_text(gold: str, answer: str) -> bool:
    """Whether two answers are equal as they are written, apart from what only changes the looks."""
    if answer.strip() == gold.strip():
        return bool(answer.strip())
    tokens = lex(answer)
    return bool(tokens) and tokens == lex(gold)
