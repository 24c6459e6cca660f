"""Grading a table: a verdict for every row of a file with gold answers (or tests) and predictions."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline_lib.files.tables import (
    check_output,
    column_values,
    read_table,
    table_rows,
    text_column,
    truth_column,
    write_table,
)
from pipeline_lib.grading import (
    FUNCTION_TIMEOUT_SECONDS,
    FUNCTIONS,
    GRADERS,
    MATHS_TIMEOUT_SECONDS,
    PROGRAM_TIMEOUT_SECONDS,
    Grading,
    Isolation,
    extract_answers,
    extract_gym_answer,
    is_exact_match,
    read_tolerance,
)
from pipeline_lib.grading.choice import choice_of, extract_choice, options_in
from pipeline_lib.grading.extraction import Found
from pipeline_lib.grading.functions import judge_by_function
from pipeline_lib.grading.maths.grader import judge_file_predictions, judge_pairs
from pipeline_lib.records import AnswerRule, Prompt

MOST_SOURCES = 20
ALL_GRADERS = (*GRADERS, *FUNCTIONS)
VERDICT_COLUMNS = ("correct", "reason", "seconds")

# Correct or not (None: there is nothing to compare with), why, and the seconds it took.
Verdict = tuple[bool | None, str, float]
OnDone = Callable[[int], None]


def grade_file(
    path: Path,
    out: Path | None = None,
    grader: str = "math",
    timeout_seconds: float | None = None,
    sandbox: Isolation = "process",
    answer_rule: AnswerRule | None = None,
    on_start: Callable[[int], None] | None = None,
    on_done: OnDone | None = None,
    raw: bool = False,
    function: str | None = None,
) -> list[dict[str, Any]]:
    """Judge every row of a .parquet, .jsonl or .csv file and write all its columns plus correct, reason and seconds to `out`.

    Columns: `prediction` (a whole response or a bare answer), `gold`; for code `tests` (JSON, see docs/code_grading.md)
    instead of gold; optionally `grader` (one of ALL_GRADERS) a row, `tolerance` (absolute), `problem`, `source`, and `label`
    (boolean) to compare with. A row without gold (for code, tests) is counted as no_gold: `correct` is NULL, and no label is
    compared. Returns a row a source and one for all: answers, correct, reasons, and with labels the agreement. Raises ValueError
    for bad input, such as a file without any gold, before anything is judged or written. With an `answer_rule` all graders but
    code read predictions as training does, as whole responses; a row whose `finish_reason` is "length" is then
    truncated. `function` ("module:name") is grader "python", which gets the row's columns as metadata and needs no gold. `raw`
    leaves a CSV's cells as they are (see `write_table`).
    """
    if function is not None:
        if grader not in ("math", "python"):
            raise ValueError(f"function = {function!r} is for grader = 'python', not {grader!r}")
        grader = "python"
    if grader not in ALL_GRADERS:
        raise ValueError(f"grader = {grader!r} is not one of {', '.join(ALL_GRADERS)}")
    if timeout_seconds is not None and not timeout_seconds > 0:
        raise ValueError(f"timeout = {timeout_seconds:g} is not allowed: seconds above 0")
    if out is not None:
        check_output(out)
    required = ["prediction"] if grader in ("code", *FUNCTIONS) else ["gold", "prediction"]
    table = read_table(path, required)
    taken = [name for name in VERDICT_COLUMNS if name in table.column_names]
    if taken:
        raise ValueError(f"{path} already has the column {', '.join(taken)}, which the verdict would replace: rename it")
    cases = _Cases(table, path, grader, sandbox, answer_rule, function)
    labels = truth_column(table, "label", path) if "label" in table.column_names else None
    sources = text_column(table, "source", path, nullable=True) if "source" in table.column_names else [""] * table.num_rows
    if on_start:
        on_start(table.num_rows)
    verdicts = cases.judge(timeout_seconds, on_done or (lambda _: None))
    if out is not None:
        correct, reasons, seconds = zip(*verdicts, strict=True)
        graded = table.append_column("correct", pa.array(correct, pa.bool_()))
        graded = graded.append_column("reason", pa.array(reasons, pa.string()))
        write_table(out, graded.append_column("seconds", pa.array(seconds, pa.float64())), raw)
    return _summary(verdicts, sources, labels)


class _Cases:
    """The rows of a file by grader."""

    def __init__(
        self, table: pa.Table, path: Path, grader: str, sandbox: Isolation, rule: AnswerRule | None, function: str | None
    ) -> None:
        self.table, self.sandbox, self.rule, self.function = table, sandbox, rule, function

        def column(name: str, of_answers: bool = False) -> list[str]:
            if name not in table.column_names:
                return [""] * table.num_rows
            return text_column(table, name, path, nullable=True, of_answers=of_answers)

        self.golds, self.predictions = column("gold", of_answers=True), column("prediction")
        self.finish_reasons = ["length" if given == "length" else "stop" for given in column("finish_reason")]
        # What is no text (a list of messages) tells no unit.
        self.problems = table["problem"].to_pylist() if _is_text(table, "problem") else [None] * table.num_rows
        self.tests = column("tests", of_answers=True)  # JSON, as text or as it is
        self.tolerances = _tolerances(table, path) if "tolerance" in table.column_names else [None] * table.num_rows
        self.graders = [given or grader for given in column("grader")]
        for row, name in enumerate(self.graders, start=1):
            if name not in ALL_GRADERS:
                raise ValueError(f"{path}: grader = {name!r} in row {row} is not one of {', '.join(ALL_GRADERS)}")
        if "python" in self.graders and function is None:
            raise ValueError(f"{path}: grader = 'python' needs a function, such as --function my_package.judge:grade")
        known = zip(self.graders, self.golds, self.tests, strict=True)
        # What a function needs, it knows.
        self.has_gold = [
            name == "python" or bool((tests if name in ("code", "gym") else gold).strip()) for name, gold, tests in known
        ]
        if not any(self.has_gold):
            needed = "tests, which grader = 'code' needs" if set(self.graders) == {"code"} else "a gold answer"
            raise ValueError(f"{path}: no row has {needed}")

    def judge(self, timeout_seconds: float | None, on_done: OnDone) -> list[Verdict]:
        verdicts: list[Verdict] = [(None, "no_gold", 0.0)] * len(self.graders)
        on_done(self.has_gold.count(False))
        judges = {"exact": self._exact, "math": self._maths, "code": self._code, "choice": self._choice}
        judges |= {name: partial(self._function, name) for name in FUNCTIONS}
        for grader, judge in judges.items():
            rows = [row for row, name in enumerate(self.graders) if name == grader and self.has_gold[row]]
            if self.rule and grader != "code":
                rows = self._read(grader, rows, self.rule, verdicts, on_done)
            if rows:
                for row, verdict in zip(rows, judge(rows, timeout_seconds, on_done), strict=True):
                    verdicts[row] = verdict
        return verdicts

    def _read(self, grader: str, rows: Sequence[int], rule: AnswerRule, verdicts: list[Verdict], on_done: OnDone) -> list[int]:
        """Put the answers in place of the predictions; returns the rows that have one, and gives the others their verdict.

        A function of the user's judges the whole response.
        """
        cut, texts = [self.finish_reasons[row] for row in rows], [self.predictions[row] for row in rows]
        problems = [self.problems[row] or "" for row in rows]
        found: list[Found] = [(text, "") for text in texts]
        if grader != "python":
            found = extract_answers(grader, texts, cut, rule, problems)
        answered = []
        for row, finish_reason, (answer, why_none) in zip(rows, cut, found, strict=True):
            if finish_reason == "length" or answer is None:
                verdicts[row] = (False, "truncated" if finish_reason == "length" else why_none, 0.0)
            else:
                self.predictions[row] = answer
                answered.append(row)
        on_done(len(rows) - len(answered))
        return answered

    def _exact(self, rows: Sequence[int], timeout_seconds: float | None, on_done: OnDone) -> list[Verdict]:
        equal = [is_exact_match(self.predictions[row], self.golds[row]) for row in rows]
        on_done(len(rows))
        return [(right, "correct" if right else "wrong", 0.0) for right in equal]

    def _choice(self, rows: Sequence[int], timeout_seconds: float | None, on_done: OnDone) -> list[Verdict]:
        verdicts: list[Verdict] = []
        for row in rows:
            options = options_in(self.problems[row] or "")
            chosen = extract_choice(self.predictions[row], options)
            right = chosen is not None and chosen == (choice_of(self.golds[row], options) or self.golds[row])
            verdicts.append((right, "no_answer" if chosen is None else "correct" if right else "wrong", 0.0))
        on_done(len(rows))
        return verdicts

    def _function(self, grader: str, rows: Sequence[int], timeout_seconds: float | None, on_done: OnDone) -> list[Verdict]:
        held = table_rows(self.table.take(rows)) if grader == "python" else [{}] * len(rows)
        prompts = [
            Prompt(
                prompt_id=str(row),
                source="",
                domain="",
                problem=self.problems[row] or "",
                answer=self.golds[row],
                tests=self.tests[row] if grader == "gym" else json.dumps(cells, default=str),
                tolerance=self.tolerances[row],
            )
            for row, cells in zip(rows, held, strict=True)
        ]
        texts = [self.predictions[row] for row in rows]
        if grader == "gym":
            texts = [extract_gym_answer(text) or text for text in texts]
        seconds = timeout_seconds or FUNCTION_TIMEOUT_SECONDS
        outcomes = judge_by_function(Grading(grader, self.function), texts, prompts, seconds, on_done)
        return [(outcome.reason.partition(":")[0] == "correct", outcome.reason, outcome.seconds) for outcome in outcomes]

    def _maths(self, rows: Sequence[int], timeout_seconds: float | None, on_done: OnDone) -> list[Verdict]:
        golds, predictions = [self.golds[row] for row in rows], [self.predictions[row] for row in rows]
        tolerances, problems = [self.tolerances[row] for row in rows], [self.problems[row] for row in rows]
        seconds = timeout_seconds or MATHS_TIMEOUT_SECONDS
        if self.rule:
            outcomes = judge_pairs(
                list(zip(predictions, golds, strict=True)), seconds, tolerances, lambda *_: on_done(1), problems
            )
        else:
            outcomes = judge_file_predictions(golds, predictions, seconds, lambda *_: on_done(1), tolerances, problems)
        return [(outcome.correct, outcome.reason, outcome.seconds) for outcome in outcomes]

    def _code(self, rows: Sequence[int], timeout_seconds: float | None, on_done: OnDone) -> list[Verdict]:
        from pipeline_lib.grading.code import extract_program, judge_programs

        # A prediction without a code block is taken for the program itself.
        programs = [extract_program(text) or text for text in (self.predictions[row] for row in rows)]
        tests = [self.tests[row] for row in rows]
        verdicts = judge_programs(programs, tests, timeout_seconds or PROGRAM_TIMEOUT_SECONDS, on_done, isolation=self.sandbox)
        return [(verdict.reason == "correct", verdict.reason, verdict.seconds) for verdict in verdicts]


def _is_text(table: pa.Table, name: str) -> bool:
    return name in table.column_names and (pa.types.is_string(table[name].type) or pa.types.is_large_string(table[name].type))


def _tolerances(table: pa.Table, path: Path) -> list[float | None]:
    tolerances = []
    for row, value in enumerate(column_values(table, "tolerance"), start=1):
        try:
            tolerances.append(read_tolerance(value))
        except ValueError as error:
            raise ValueError(f"{path}: tolerance = {value!r} in row {row}: {error}") from error
    return tolerances


def _summary(verdicts: Sequence[Verdict], sources: Sequence[str], labels: Sequence[bool] | None) -> list[dict[str, Any]]:
    # Sources that name a file or test behind a slash are counted by what stands before it.
    is_detailed = len(set(sources)) > MOST_SOURCES
    rows_of: dict[str, list[int]] = {}
    for row, source in enumerate(sources):
        rows_of.setdefault(source.split("/")[0] if is_detailed else source, []).append(row)
    groups = rows_of if len(rows_of) > 1 else {}
    everything = {"all": list(range(len(verdicts)))}
    return [_count(source, rows, verdicts, labels) for source, rows in [*groups.items(), *everything.items()]]


def _count(source: str, rows: Sequence[int], verdicts: Sequence[Verdict], labels: Sequence[bool] | None) -> dict[str, Any]:
    reasons = Counter(verdicts[row][1].partition(":")[0] for row in rows)
    counted: dict[str, Any] = {"source": source, "answers": len(rows), "correct": reasons.pop("correct", 0)}
    counted["not correct"] = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()) or "–"
    if labels is not None:
        right = [(verdicts[row][0], labels[row]) for row in rows if verdicts[row][0] is not None]
        agreeing = sum(ours == label for ours, label in right)
        counted["agree with label (%)"] = f"{100 * agreeing / len(right):.2f}" if right else "–"
        counted["false positives"] = sum(ours and not label for ours, label in right)
        counted["false negatives"] = sum(label and not ours for ours, label in right)
    return counted
