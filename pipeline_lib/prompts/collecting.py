"""Rows become prompts: what a row holds, what cannot be used, and what is left out with a cause."""

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline_lib.config import PromptSource
from pipeline_lib.files.tables import is_missing, text_of
from pipeline_lib.grading import read_tolerance
from pipeline_lib.grading.choice import choice_of, gold_letter, options_in, render_options
from pipeline_lib.grading.maths.tolerances import minerva_tolerance, olympiadbench_tolerance
from pipeline_lib.prompts.code_problems import code_problem, code_tests
from pipeline_lib.records import Prompt


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that is no prompt of its own: no problem (cause empty_problem) or answer (empty_answer), or a repeat (exact_duplicate)."""

    prompt: Prompt
    cause: str
    detail: str


@dataclass(slots=True)
class SourceContent:
    """What a source holds: prompts by id, the rows left out, and pass rates recorded in it (0-1) by prompt id."""

    prompts: dict[str, Prompt] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    pass_rates: dict[str, float] = field(default_factory=dict)


def collect_prompts(rows: Iterable[dict[str, Any]], source: PromptSource) -> SourceContent:
    """Turn rows into prompts with stable ids. Raises ValueError naming the column at fault, or a wrong `num_problems`."""
    content = SourceContent()
    repeats: Counter[str] = Counter()
    for row in rows:
        prompt = to_prompt(row, source)
        known = content.prompts.get(prompt.prompt_id)
        if not prompt.problem or not (prompt.answer or prompt.tests):
            what = "problem" if not prompt.problem else "answer"
            # An id of its own: a digest would be that of a row with the same problem, or of all rows without one.
            unusable = replace(prompt, prompt_id=f"{prompt.prompt_id}-without-{what}-{len(content.left_out) + 1}")
            content.left_out.append(LeftOut(unusable, f"empty_{what}", f"the row has no {what}"))
        elif known is None:
            content.prompts[prompt.prompt_id] = prompt
            if source.pass_rate_field and (rate := _pass_rate(row, source)) is not None:
                content.pass_rates[prompt.prompt_id] = rate
        elif _normalise(known.problem) != _normalise(prompt.problem):
            raise ValueError(
                f"prompt source {source.name!r}: id_field = {source.id_field!r} gives {prompt.prompt_id!r} to two problems"
            )
        else:
            repeats[prompt.prompt_id] += 1
            content.left_out.append(_repeat(prompt, known, repeats[prompt.prompt_id]))
    if source.num_problems is not None and len(content.prompts) != source.num_problems:
        raise ValueError(
            f"prompt source {source.name!r} holds {len(content.prompts)} problems with an answer where num_problems = "
            f"{source.num_problems}: other data, or another revision, than the configuration is for"
        )
    return content


def _repeat(prompt: Prompt, known: Prompt, number: int) -> LeftOut:
    same = known.answer == prompt.answer
    detail = f"repeats {known.prompt_id}" + (
        "" if same else f" with another answer ({prompt.answer!r}, first {known.answer!r})"
    )
    cause = "exact_duplicate" if same else "conflicting_answers"
    return LeftOut(replace(prompt, prompt_id=f"{prompt.prompt_id}-repeat-{number}"), cause, detail)


def to_prompt(row: dict[str, Any], source: PromptSource) -> Prompt:
    """The prompt in a row, whether it can be used or not. Raises ValueError naming the column at fault."""
    value = _column(row, "problem_field", source)
    if not is_missing(value) and not isinstance(value, str | bytes):
        raise ValueError(
            f"prompt source {source.name!r}: problem_field = {source.problem_field!r} holds {type(value).__name__}, not text"
        )
    problem = _text(value, "problem_field", source)
    tests = None
    if source.grader == "python":  # what is right is the function's business, which may need no answer
        answer = _text(row.get(source.answer_field), "answer_field", source)
        fields = {name: _named_column(row, name, "metadata_fields", source) for name in source.metadata_fields}
        tests = json.dumps(fields, default=str)
    elif source.tests_format is None:
        answer = _text(_column(row, "answer_field", source), "answer_field", source)
    else:
        # The reference solution, where there is one, is for readers: the tests decide.
        answer = _text(row.get(source.answer_field), "answer_field", source)
        problem, tests = code_problem(problem, row, source.tests_format), code_tests(row, source)
    if source.answer_after and source.answer_after in answer:
        answer = answer.rpartition(source.answer_after)[2].strip()
    if source.grader == "choice" and answer and problem:
        problem, answer = _with_options(problem, answer, row, source)
    given_id = None if source.id_field is None else _text(_column(row, "id_field", source), "id_field", source)
    prompt_id = digest_problem(problem) if given_id is None else given_id
    if not prompt_id:
        raise ValueError(f"prompt source {source.name!r}: id_field = {source.id_field!r} is empty in a row")
    tolerance = _tolerance(row, answer, source)
    return Prompt(prompt_id, source.name, source.domain, problem, answer, tests, tolerance)


def _tolerance(row: dict[str, Any], answer: str, source: PromptSource) -> float | None:
    if source.tolerance_rule == "minerva":
        return minerva_tolerance(answer)
    if source.tolerance_field is None:
        return None
    value = _column(row, "tolerance_field", source)
    try:
        return read_tolerance(olympiadbench_tolerance(value) if source.tolerance_rule == "olympiadbench" else value)
    except ValueError as error:
        raise ValueError(
            f"prompt source {source.name!r}: tolerance_field = {source.tolerance_field!r} holds {value!r}: {error}"
        ) from error


def _text(value: Any, key: str, source: PromptSource) -> str:
    try:
        return text_of(value)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"prompt source {source.name!r}: {key} = {getattr(source, key)!r} holds bytes that are not UTF-8"
        ) from error


def _with_options(problem: str, answer: str, row: dict[str, Any], source: PromptSource) -> tuple[str, str]:
    """The problem with its options below it where a column holds them, and the letter of the right one."""
    if source.choices_field is None:
        letter = choice_of(answer, options_in(problem))
        if letter is None:
            raise ValueError(
                f"prompt source {source.name!r}: answer_field = {source.answer_field!r} holds {answer[:40]!r}, which is no option of "
                f"the problem {problem[:40]!r}: lines A. to J., or name the column with the options (choices_field)"
            )
        return problem, letter
    held = _column(row, "choices_field", source)
    texts, labels = (held.get("text", ()), held.get("label", ())) if isinstance(held, dict) else (held, ())
    raw = row[source.answer_field] if not source.answer_after else answer
    try:
        options = [str(text) for text in texts]
        return render_options(problem, options), gold_letter(raw, options, [str(label) for label in labels])
    except (TypeError, ValueError) as error:
        raise ValueError(f"prompt source {source.name!r}: choices_field = {source.choices_field!r}: {error}") from error


def _column(row: dict[str, Any], key: str, source: PromptSource) -> Any:
    return _named_column(row, getattr(source, key), key, source)


def _named_column(row: dict[str, Any], name: str, key: str, source: PromptSource) -> Any:
    if name not in row:
        raise ValueError(f"prompt source {source.name!r}: {key} = {name!r} is not one of the columns {', '.join(row)}")
    return row[name]


def _pass_rate(row: dict[str, Any], source: PromptSource) -> float | None:
    held = _column(row, "pass_rate_field", source)
    if held is None or held == "":
        return None
    try:
        value = float(held)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"prompt source {source.name!r}: pass_rate_field = {source.pass_rate_field!r} holds {held!r}, not a number"
        ) from error
    rate = {"fraction": value, "percent": value / 100, "failure_percent": 1 - value / 100}[source.pass_rate_scale]
    if not -1e-9 <= rate <= 1 + 1e-9:
        raise ValueError(
            f"prompt source {source.name!r}: pass_rate_field = {source.pass_rate_field!r} holds {value:g}, outside the scale "
            f"pass_rate_scale = {source.pass_rate_scale!r}"
        )
    return min(max(rate, 0.0), 1.0)


def digest_problem(problem: str) -> str:
    """A stable id of a problem: 16 hex digits of the SHA-256 of its text, blind to white space and Unicode form."""
    return hashlib.sha256(_normalise(problem).encode()).hexdigest()[:16]


def _normalise(problem: str) -> str:
    return " ".join(unicodedata.normalize("NFC", problem).split())
