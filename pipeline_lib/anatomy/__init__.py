"""Where a response's tokens go, from its text alone: until the right answer first appears, restarts, repeated passages."""

import math
from dataclasses import dataclass

from pipeline_lib.anatomy.repeats import repeated_fraction
from pipeline_lib.anatomy.restarts import count_restarts
from pipeline_lib.anatomy.right_answer import first_appearance, is_searchable
from pipeline_lib.records import Grade, Prompt

__all__ = ["Anatomy", "dissect"]


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One response. The names are columns of the `rollouts` view; None: it cannot be told, or does not apply."""

    answer_appears: bool | None
    tokens_to_answer: int | None
    restarts: int
    repeated_fraction: float


def dissect(text: str, num_tokens: int, prompt: Prompt, grade: Grade) -> Anatomy:
    """The anatomy of a judged response of `num_tokens` tokens, of which as large a share lies before a place as of its characters.

    Where the response is right, its own answer is looked for too, which may be written in another way than the gold answer.
    """
    appears = tokens = None
    if not prompt.tests and is_searchable(prompt.answer):
        golds = [prompt.answer, *([grade.answer] if grade.correct and grade.answer else [])]
        ends = [end for gold in golds if (end := first_appearance(text, gold, prompt.problem)) is not None]
        if grade.correct and not ends:
            ends = [len(text)]  # the answer that was judged stands somewhere
        appears = bool(ends)
        tokens = min(num_tokens, math.ceil(num_tokens * min(ends) / max(len(text), 1))) if ends else None
    return Anatomy(appears, tokens, count_restarts(text), repeated_fraction(text))
