"""How far a number may be from the gold one, by the benchmarks' own rules."""

from pipeline_lib.grading.maths.answer_types import Items, Number, Quantity, Readings
from pipeline_lib.grading.maths.answers import read

# OlympiadBench's judge allows a hundredth more than the error of the problem.
OLYMPIADBENCH_MARGIN = 1.01


def olympiadbench_tolerance(error: str | float | None) -> float | None:
    """The absolute tolerance of an OlympiadBench problem from its `error` field; None, the general rule, without one.

    Source: eval/auto_scoring_judge.py of OpenBMB/OlympiadBench. An `error` of several numbers gives the smallest.
    """
    numbers = [float(part) for part in str(error or "").split(",") if part.strip()]
    return min(numbers) * OLYMPIADBENCH_MARGIN if numbers else None


def minerva_tolerance(gold: str) -> float | None:
    """The absolute tolerance of a Minerva problem from its gold answer; None, the general rule, when that is no number.

    Source: `numeric_equality` in the appendix of the Minerva paper (arXiv 2206.14858), which is numpy's isclose (1e-5 of the gold
    number and 1e-8), but 1 % for numbers that are themselves close to 0.
    """
    try:
        number = _first_number(read(gold))
    except Exception:  # what crashes the reader is no number
        return None
    if number is None:
        return None
    size = abs(float(number.value))
    return 0.01 * size if size <= 1e-8 else 1e-8 + 1e-5 * size


def _first_number(readings: Readings) -> Number | None:
    for answer in readings:
        amount = answer.amount if isinstance(answer, Quantity) else answer
        if isinstance(amount, Number):
            return amount
        if isinstance(answer, Items) and answer.items and (number := _first_number(answer.items[0])) is not None:
            return number
    return None
