"""Responses without an answer: how many there are, and where else in them the answer stands, found out on stored texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline_lib.config import PromptSource
from pipeline_lib.grading import grade_prompts
from pipeline_lib.records import AnswerRule, Prompt

if TYPE_CHECKING:
    from pipeline_lib.store.database import Store

# Responses that are read again; and the share with an answer below which they are.
MOST_TEXTS = 500
FEW = 0.5
PLACES = (
    AnswerRule("boxed"),
    AnswerRule("last_number"),
    *(AnswerRule("after", mark) for mark in ("####", "Final answer:", "Answer:", "answer is")),
)


@dataclass(frozen=True, slots=True)
class MissingAnswers:
    """Of a profile's finished responses fewer than half have an answer; `best` is the other place with most right ones.

    Shares are of the finished responses; `best` is None where no other place holds a right answer.
    """

    answered: float
    best: AnswerRule | None
    best_answered: float
    best_correct: float

    def text(self, answer_from: str) -> str:
        """What was found, in a sentence or two."""
        found = f"{1 - self.answered:.0%} of the profile's finished responses have no answer (answer_from = '{answer_from}')"
        if self.best is None:
            return f"{found}, and none is right wherever it is looked for"
        return f"{found}; {as_setting(self.best)} finds one in {self.best_answered:.0%}, right in {self.best_correct:.0%}"


def as_setting(rule: AnswerRule) -> str:
    """A rule as its settings, for readers."""
    return " and ".join(f"{key} = '{value}'" for key, value in settings_of(rule).items())


def settings_of(rule: AnswerRule) -> dict[str, str]:
    """A rule (no pattern) as settings of a prompt source."""
    return {"answer_from": rule.answer_from} | ({"answer_mark": rule.text} if rule.text else {})


def missing_answers(store: "Store", run_id: str, source: PromptSource) -> MissingAnswers | None:
    """Of the profile that a run has sampled; None where at least half of what ended has an answer, and where none is compared."""
    if source.grader in ("code", "python"):  # these judge a program, or the whole response
        return None
    rows = store.named("answers_of_profile", run_id=run_id, few=FEW, limit=MOST_TEXTS)
    if not rows:
        return None
    tried = [(rule, *_found(rule, rows, source)) for rule in PLACES if rule != source.answer_rule]
    best, best_answered, best_correct = max(tried, key=lambda each: (each[2], each[1]))
    return MissingAnswers(rows[0]["answered"], best if best_correct else None, best_answered, best_correct)


def _found(rule: AnswerRule, rows: Sequence[dict[str, Any]], source: PromptSource) -> tuple[float, float]:
    """The shares of the responses that have an answer there, and a right one."""
    moved = source.model_copy(update={"answer_mark": None, "answer_pattern": None, **settings_of(rule)})
    prompts = [
        Prompt("", source.name, source.domain, row["problem"], row["answer"], row["tests"], row["tolerance"]) for row in rows
    ]
    grades = grade_prompts(moved, [row["text"] for row in rows], prompts, ["stop"] * len(rows))
    return sum(grade.answer is not None for grade in grades) / len(rows), sum(grade.correct for grade in grades) / len(rows)
