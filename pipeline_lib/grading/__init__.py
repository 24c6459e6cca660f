"""Judging responses: the answer in the last box, compared with the gold answer exactly or as mathematics."""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pipeline_lib.grading.boxed import extract_last_box
from pipeline_lib.grading.exact import is_exact_match
from pipeline_lib.grading.maths import judge_answers
from pipeline_lib.records import Grade

__all__ = ["GRADERS", "extract_last_box", "grade_responses"]

logger = logging.getLogger(__name__)

GRADERS = ("exact", "math")


def grade_responses(
    grader: Literal["exact", "math"],
    responses: Sequence[str],
    answers: Sequence[str],
    finish_reasons: Sequence[str],
    timeout_seconds: float = 5.0,
) -> list[Grade]:
    """One Grade a response: the extracted answer, whether it is right, and the reason (see `Grade`).

    `answers` are the gold answers, `finish_reasons` "stop" or "length". A response cut off at its token limit is never correct,
    whatever its box holds. `timeout_seconds` is the wall time for one mathematical comparison; running out of it, or a crash,
    gives the reason "timeout" or "error", not "wrong". Raises ValueError when the sequences differ in length or the grader
    is unknown.
    """
    if grader not in GRADERS:
        raise ValueError(f"grader = {grader!r} is not one of {', '.join(GRADERS)}")
    if not len(responses) == len(answers) == len(finish_reasons):
        raise ValueError(
            f"{len(responses)} responses, {len(answers)} answers and {len(finish_reasons)} finish reasons: need one of each"
        )
    extracted = [extract_last_box(response) for response in responses]
    reasons = [
        "truncated" if finish_reason == "length" else "no_answer" if answer is None else None
        for answer, finish_reason in zip(extracted, finish_reasons, strict=True)
    ]
    open_pairs = {
        (answer, gold)
        for answer, gold, reason in zip(extracted, answers, reasons, strict=True)
        if reason is None and answer is not None
    }
    verdicts = _judge(grader, sorted(open_pairs), timeout_seconds)
    grades = []
    for answer, gold, settled in zip(extracted, answers, reasons, strict=True):
        reason = settled if settled is not None or answer is None else verdicts[answer, gold]
        assert reason is not None
        grades.append(Grade(answer=answer, correct=reason == "correct", reason=reason))
    _warn_of_failures(grades)
    return grades


def _judge(grader: str, pairs: Sequence[tuple[str, str]], timeout_seconds: float) -> dict[tuple[str, str], str]:
    """The reason for each distinct (answer, gold) pair: within a rollout group most answers repeat."""
    if grader == "exact":
        return {pair: "correct" if is_exact_match(*pair) else "wrong" for pair in pairs}
    return dict(zip(pairs, judge_answers(pairs, timeout_seconds), strict=True))


def _warn_of_failures(grades: Sequence[Grade]) -> None:
    counts = Counter(grade.reason for grade in grades)
    if counts["timeout"] or counts["error"]:
        logger.warning("%d of %d answers timed out and %d failed in grading", counts["timeout"], len(grades), counts["error"])
