"""Judging responses: an answer compared with the gold answer, a program run on its tests, or what a function says of the response."""

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pipeline_lib.grading.choice import choice_of, extract_choice, options_in
from pipeline_lib.grading.extraction import Found, find_answers
from pipeline_lib.grading.functions import FunctionSettings, answer_in_tags, judge_by_function
from pipeline_lib.grading.maths.boxed import extract_last_box
from pipeline_lib.grading.maths.grader import judge_answers
from pipeline_lib.records import BOXED, AnswerRule, Grade, Prompt

__all__ = ["FUNCTIONS", "GRADERS", "extract_answers", "extract_last_box", "grade_prompts", "grade_responses", "read_tolerance"]

logger = logging.getLogger(__name__)

GRADERS = ("exact", "math", "code", "choice")
# These are called with the response and its prompt.
FUNCTIONS = ("python", "gym")

MATHS_TIMEOUT_SECONDS = 5.0
# A test of a program, as LiveCodeBench allows.
PROGRAM_TIMEOUT_SECONDS = 6.0
FUNCTION_TIMEOUT_SECONDS = 5.0

Isolation = Literal["process", "bubblewrap", "docker"]

# What is compared with what: extracted answer, gold answer, absolute tolerance, problem; for code: program, tests, nothing.
Case = tuple[str, str, float | None, str]


class GraderSettings(FunctionSettings, Protocol):
    """What a source says of its grader."""

    @property
    def sandbox(self) -> Isolation: ...
    @property
    def answer_rule(self) -> AnswerRule: ...


@dataclass(frozen=True, slots=True)
class Grading:
    """A grader without a source."""

    grader: str
    function: str | None = None
    correct_score: float = 1.0
    grading_seconds: float = FUNCTION_TIMEOUT_SECONDS
    sandbox: Isolation = "process"
    answer_rule: AnswerRule = BOXED


def grade_prompts(
    settings: GraderSettings, responses: Sequence[str], prompts: Sequence[Prompt], finish_reasons: Sequence[str]
) -> list[Grade]:
    """One Grade a response to each of the prompts, by the grader of their source. Raises as `grade_responses` does."""
    if settings.grader in FUNCTIONS:
        return _grade_by_function(settings, responses, prompts, finish_reasons)
    return grade_responses(
        settings.grader,
        responses,
        [prompt.answer for prompt in prompts],
        finish_reasons,
        tests=[prompt.tests for prompt in prompts],
        tolerances=[prompt.tolerance for prompt in prompts],
        problems=[prompt.problem for prompt in prompts],
        sandbox=settings.sandbox,
        answer_rule=settings.answer_rule,
    )


def _grade_by_function(
    settings: GraderSettings, responses: Sequence[str], prompts: Sequence[Prompt], finish_reasons: Sequence[str]
) -> list[Grade]:
    """What is extracted is for readers where a user's function judges the whole response; Reasoning Gym scores it alone."""
    is_gym = settings.grader == "gym"
    found = extract_answers(settings.grader, responses, finish_reasons, settings.answer_rule)
    answers = [answer for answer, _ in found]
    reasons = [
        "truncated" if finish == "length" else why_none if is_gym and answer is None else ""
        for (answer, why_none), finish in zip(found, finish_reasons, strict=True)
    ]
    open_ones = [number for number, reason in enumerate(reasons) if not reason]
    texts = [(answers if is_gym else responses)[number] or "" for number in open_ones]
    outcomes = judge_by_function(settings, texts, [prompts[number] for number in open_ones])
    for number, outcome in zip(open_ones, outcomes, strict=True):
        reasons[number] = outcome.reason
    _warn(reasons)
    return [Grade(answer, _kind(reason) == "correct", reason) for answer, reason in zip(answers, reasons, strict=True)]


def extract_gym_answer(response: str) -> str | None:
    """What stands in the last <answer> tag, or in the last box where there is no tag."""
    answer = answer_in_tags(response)
    return extract_last_box(response) if answer is None else answer


def grade_responses(
    grader: str,
    responses: Sequence[str],
    answers: Sequence[str],
    finish_reasons: Sequence[str],
    timeout_seconds: float | None = None,
    *,
    tests: Sequence[str | None] | None = None,
    tolerances: Sequence[float | None] | None = None,
    problems: Sequence[str] | None = None,
    sandbox: Isolation = "process",
    answer_rule: AnswerRule = BOXED,
) -> list[Grade]:
    """One Grade a response: the extracted answer (or program), whether it is right, and the reason (see `Grade`).

    `answers` are the gold answers, `finish_reasons` "stop" or "length". A response cut off at its token limit is never correct,
    whatever it holds. `answer_rule` says where the answer stands, but for code. `tolerances` are absolute errors that the
    problems allow in numbers; the texts of the `problems` tell the units that they ask for; `tests` decide for grader "code",
    whose programs run in the `sandbox`. `timeout_seconds` is the wall time for one comparison or one test of a program; running
    out of it, or a crash of the grader, gives the reason "timeout" or "error", not "wrong". Raises ValueError when the sequences
    differ in length, the grader is unknown, a tolerance is none, or a test is missing.
    """
    if grader not in GRADERS:
        raise ValueError(f"grader = {grader!r} is not one of {', '.join(GRADERS)}")
    if not len(responses) == len(answers) == len(finish_reasons):
        raise ValueError(
            f"{len(responses)} responses, {len(answers)} answers and {len(finish_reasons)} finish reasons: need one of each"
        )
    found = extract_answers(grader, responses, finish_reasons, answer_rule, problems)
    golds = _golds(grader, answers, tests, problems)
    limits = [read_tolerance(limit) for limit in tolerances] if tolerances is not None else [None] * len(responses)
    texts = problems if problems is not None and grader == "math" else [""] * len(responses)
    cases: list[Case | str] = [
        "truncated" if finish_reason == "length" else why_none if answer is None else (answer, gold, limit, text)
        for (answer, why_none), gold, limit, text, finish_reason in zip(
            found, golds, limits, texts, finish_reasons, strict=True
        )
    ]
    # Within a rollout group most answers repeat.
    distinct = sorted(
        {case for case in cases if not isinstance(case, str)}, key=lambda case: (*case[:2], case[2] or 0.0, case[3])
    )
    verdicts = dict(zip(distinct, _judge(grader, distinct, timeout_seconds, sandbox), strict=True))
    reasons = [case if isinstance(case, str) else verdicts[case] for case in cases]
    _warn(reasons)
    return [Grade(answer, reason == "correct", reason) for (answer, _), reason in zip(found, reasons, strict=True)]


def _kind(reason: str) -> str:
    """A reason without what a function says of it."""
    return reason.partition(":")[0]


def _warn(reasons: Sequence[str]) -> None:
    counts = Counter(map(_kind, reasons))
    if counts["timeout"] or counts["error"]:
        first = next((reason for reason in reasons if reason.startswith("error: ")), "")
        message = "%d of %d answers timed out and %d failed in grading" + (first and "; the first: %s")
        logger.warning(message, counts["timeout"], len(reasons), counts["error"], *([first] if first else []))


def read_tolerance(value: Any) -> float | None:
    """An absolute tolerance from a number, or a text of one; None for none. Raises ValueError for what no error can be."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        tolerance = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        tolerance = math.nan
    if not 0 <= tolerance < math.inf:
        raise ValueError("a tolerance is a finite number of at least 0")
    return tolerance


def is_exact_match(answer: str, gold: str) -> bool:
    """Whether answer and gold are equal after stripping."""
    return answer.strip() == gold.strip()


def extract_answers(
    grader: str,
    responses: Sequence[str],
    finish_reasons: Sequence[str],
    rule: AnswerRule,
    problems: Sequence[str] | None = None,
) -> list[Found]:
    """What a grader reads of whole responses; the rule of boxes stands for the place that choice and gym have of their own."""
    if grader == "gym" and rule == BOXED:
        return [(extract_gym_answer(response), "no_answer") for response in responses]
    if grader == "choice":
        options = [options_in(problem) for problem in problems] if problems is not None else [{}] * len(responses)
        if rule == BOXED:
            chosen = [extract_choice(response, given) for response, given in zip(responses, options, strict=True)]
            return [(letter, "no_answer") for letter in chosen]
        answers = find_answers(rule, responses, finish_reasons)
        return [
            (None if answer is None else choice_of(answer, given), why_none)
            for (answer, why_none), given in zip(answers, options, strict=True)
        ]
    if grader != "code":
        return find_answers(rule, responses, finish_reasons)
    from pipeline_lib.grading.code import extract_program

    return [(extract_program(response), "no_answer") for response in responses]


def _golds(
    grader: str, answers: Sequence[str], tests: Sequence[str | None] | None, problems: Sequence[str] | None
) -> Sequence[str]:
    if grader == "choice":
        given = problems if problems is not None else [""] * len(answers)
        return [choice_of(answer, options_in(problem)) or answer for answer, problem in zip(answers, given, strict=True)]
    if grader != "code":
        return answers
    if tests is None or len(tests) != len(answers) or not all(tests):
        raise ValueError("grader = 'code' needs the tests of every problem")
    return [test or "" for test in tests]


def _judge(grader: str, cases: Sequence[Case], timeout_seconds: float | None, sandbox: Isolation) -> list[str]:
    if grader in ("exact", "choice"):
        return ["correct" if is_exact_match(answer, gold) else "wrong" for answer, gold, *_ in cases]
    if grader == "math":
        pairs, limits, problems = [case[:2] for case in cases], [case[2] for case in cases], [case[3] for case in cases]
        return judge_answers(pairs, timeout_seconds or MATHS_TIMEOUT_SECONDS, limits, problems)
    from pipeline_lib.grading.code import judge_programs

    programs, tests = [case[0] for case in cases], [case[1] for case in cases]
    verdicts = judge_programs(programs, tests, timeout_seconds or PROGRAM_TIMEOUT_SECONDS, isolation=sandbox)
    return [verdict.reason for verdict in verdicts]
