"""Judging predictions from files, where gold and prediction come in all the forms that people store them in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline_lib.grading.maths.answer_in_text import is_choice, read_gold, read_prediction
from pipeline_lib.grading.maths.grader import judge_pairs
from pipeline_lib.grading.maths.normal_form import normalise
from pipeline_lib.grading.maths.process import Outcome


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one prediction.

    `answer` is what was read as the final answer, None when there was none. `reason` is correct, wrong, no_answer (no answer in
    the text, or its last box is malformed), timeout or error. `seconds` is the wall time of the comparison.
    """

    answer: str | None
    correct: bool
    reason: str
    seconds: float


def judge_file_predictions(
    golds: Sequence[str],
    predictions: Sequence[str],
    timeout_seconds: float = 5.0,
    on_done: Callable[[int, Verdict], None] | None = None,
    tolerances: Sequence[float | None] | None = None,
) -> list[Verdict]:
    """One Verdict for each gold answer and prediction; either may be bare, in dollars, boxed, or a whole response.

    How the answer is found in a text is told in `answer_in_text`; unlike `grade_responses` this reads responses without a box.
    `on_done` is called with the position and the verdict of each pair once it is judged, in no particular order. `tolerances` are
    the absolute errors allowed in numbers (see `judge_answers`). Raises ValueError when the sequences differ in length and
    RuntimeError when the worker processes cannot be started.
    """
    if len(golds) != len(predictions):
        raise ValueError(f"{len(golds)} gold answers and {len(predictions)} predictions: need one of each")
    read = [read_pair(gold, prediction) for gold, prediction in zip(golds, predictions, strict=True)]
    verdicts: list[Verdict | None] = [None] * len(read)

    def place(index: int, verdict: Verdict) -> None:
        verdicts[index] = verdict
        if on_done is not None:
            on_done(index, verdict)

    answered = []
    for index, (_, answer) in enumerate(read):
        if answer is None:
            place(index, Verdict(None, False, "no_answer", 0.0))
        else:
            answered.append(index)

    def judged(position: int, outcome: Outcome) -> None:
        index = answered[position]
        place(index, Verdict(read[index][1], outcome.reason == "correct", outcome.reason, outcome.seconds))

    pairs = [(read[index][1] or "", read[index][0]) for index in answered]
    chosen = None if tolerances is None else [tolerances[index] for index in answered]
    judge_pairs(pairs, timeout_seconds, chosen, judged)
    return [verdict for verdict in verdicts if verdict is not None]


def read_pair(gold: str, prediction: str) -> tuple[str, str | None]:
    """The gold answer and the predicted one, None when there is none. Equal texts are taken as they are."""
    gold_answer = read_gold(gold)
    if prediction.strip() and (
        prediction.strip() == gold.strip()
        or (0 < len(normalise(prediction)) < 200 and normalise(prediction) == normalise(gold_answer))
    ):
        return gold_answer, gold_answer
    return gold_answer, read_prediction(prediction, is_choice(gold_answer))
