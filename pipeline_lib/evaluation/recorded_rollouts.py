"""Rollouts made elsewhere: read from a table, matched with their problems, judged with our grader."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from pipeline_lib.anatomy import dissect
from pipeline_lib.files.markdown import one_line
from pipeline_lib.files.tables import column_values, read_table, text_column, truth_column
from pipeline_lib.grading import GraderSettings, grade_prompts
from pipeline_lib.prompts.collecting import digest_problem
from pipeline_lib.records import FinishReason, Prompt, Rollout, Stage

# What a column may be called; the first is the name in our own `rollouts` view or the most common one.
COLUMNS: dict[str, tuple[str, ...]] = {
    "response": ("response", "text", "completion"),
    "num_tokens": ("num_tokens", "n_tokens", "tokens"),
    "problem": ("problem", "question", "prompt"),
    "prompt_id": ("prompt_id",),
    "answer": ("gold", "answer"),
    "model": ("model",),
    "benchmark": ("benchmark", "dataset", "source"),
    "sample_index": ("sample_index", "sample"),
    "finish_reason": ("finish_reason",),
    "truncated": ("truncated",),
}

MOST_TOKENS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class RecordedRollout:
    """A row of the file. `answer` is the gold answer, empty when the row has none."""

    prompt_id: str
    problem: str
    response: str
    num_tokens: int
    finish_reason: FinishReason
    model: str
    benchmark: str
    sample_index: int
    answer: str


def read_recorded_rollouts(path: Path) -> list[RecordedRollout]:
    """The rollouts of a Parquet, JSONL or CSV file, a row each, in order.

    Columns, each under one of the names in COLUMNS: response, num_tokens, and problem or prompt_id; where present also the gold
    answer, model, benchmark, sample_index (else counted), and finish_reason ("stop" or "length") or truncated (boolean). A
    response without either counts as ended by itself. Raises ValueError naming the file and what is missing, wrong, or said in
    two ways.
    """
    table = read_table(path)
    found = {key: next((name for name in names if name in table.column_names), None) for key, names in COLUMNS.items()}
    if "grade_reason" in table.column_names and found["answer"] == "answer":
        # A table of our own: there `answer` is what was extracted from the response.
        found["answer"] = None
    missing = [key for key in ("response", "num_tokens") if found[key] is None]
    if found["problem"] is None and found["prompt_id"] is None:
        missing.append("problem (or prompt_id)")
    if missing:
        known = "; ".join(f"{key}: {' or '.join(COLUMNS[key])}" for key in ("response", "num_tokens", "problem"))
        raise ValueError(f"{path} has no column for {', '.join(missing)} ({known}); it has {', '.join(table.column_names)}")
    columns = _Columns(table, path, found)
    problems, ids = columns.text("problem"), columns.text("prompt_id")
    prompt_ids = [given or digest_problem(problem) for given, problem in zip(ids, problems, strict=True)]
    models, benchmarks = columns.text("model", "recorded"), columns.text("benchmark", path.stem)
    return [
        RecordedRollout(*row)
        for row in zip(
            prompt_ids,
            problems,
            columns.text("response"),
            columns.counts("num_tokens"),
            columns.finish_reasons(),
            models,
            benchmarks,
            columns.samples(list(zip(models, benchmarks, prompt_ids, problems, strict=True))),
            columns.text("answer", of_answers=True),
            strict=True,
        )
    ]


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of a table of rollouts by what they mean."""

    table: pa.Table
    path: Path
    found: Mapping[str, str | None]

    def text(self, key: str, default: str = "", of_answers: bool = False) -> list[str]:
        name = self.found[key]
        if name is None:
            return [default] * self.table.num_rows
        return [value or default for value in text_column(self.table, name, self.path, nullable=True, of_answers=of_answers)]

    def counts(self, key: str) -> list[int]:
        name = self.found[key] or ""
        counts = []
        for row, value in enumerate(column_values(self.table, name), start=1):
            try:
                count = -1.0 if isinstance(value, bool) else float(value)
            except (TypeError, ValueError, OverflowError):
                count = -1.0
            if not 0 <= count <= MOST_TOKENS or not count.is_integer():
                what = "number of tokens" if key == "num_tokens" else "number from 0"
                raise ValueError(f"{self.path}: column {name} holds {value!r} in row {row}, not a {what}")
            counts.append(int(count))
        return counts

    def finish_reasons(self) -> list[FinishReason]:
        given, name = self.text("finish_reason"), self.found["truncated"]
        cut = truth_column(self.table, name, self.path) if name else [reason == "length" for reason in given]
        for row, (value, is_cut) in enumerate(zip(given, cut, strict=True), start=1):
            if value not in ("stop", "length", ""):
                raise ValueError(f"{self.path}: finish_reason = {value!r} in row {row} is neither 'stop' nor 'length'")
            if value and is_cut != (value == "length"):
                raise ValueError(
                    f"{self.path}: finish_reason = {value!r} and {name} = {is_cut} in row {row} contradict each other"
                )
        return ["length" if is_cut else "stop" for is_cut in cut]

    def samples(self, prompts: Sequence[tuple[str, ...]]) -> list[int]:
        """The number of each row among those of its model, benchmark and prompt. Raises ValueError where one comes twice."""
        if not self.found["sample_index"]:
            seen: dict[tuple[str, ...], int] = {}
            return [seen.update({key: seen.get(key, -1) + 1}) or seen[key] for key in prompts]
        samples = self.counts("sample_index")
        # A table of our own has the same sample of several runs, stages and steps.
        own = [column_values(self.table, name) for name in ("run_id", "stage", "step") if name in self.table.column_names]
        first: dict[tuple[object, ...], int] = {}
        for row, (sample, prompt, *where) in enumerate(zip(samples, prompts, *own, strict=True), start=1):
            before = first.setdefault((sample, prompt, *where), row)
            if before != row:
                raise ValueError(f"{self.path}: rows {before} and {row} are the same sample, {sample}, of one prompt")
        return samples


def attach_prompts(
    recorded: Sequence[RecordedRollout], prompts: Sequence[Prompt]
) -> tuple[list[tuple[RecordedRollout, Prompt]], int]:
    """Each recorded rollout with its prompt, found by the problem's text, or by prompt_id without one; and how many have none."""
    by_id = {prompt.prompt_id: prompt for prompt in prompts}
    by_text = {digest_problem(prompt.problem): prompt for prompt in prompts}
    pairs = []
    for rollout in recorded:
        prompt = by_text.get(digest_problem(rollout.problem)) if rollout.problem else None
        same_id = by_id.get(rollout.prompt_id)
        # Ids may be row numbers of another data set: a text that is given must be in the problem.
        if prompt is None and same_id is not None and one_line(rollout.problem) in one_line(same_id.problem):
            prompt = same_id
        if prompt is not None:
            pairs.append((rollout, prompt))
    return pairs, len(recorded) - len(pairs)


def own_prompts(recorded: Sequence[RecordedRollout]) -> list[Prompt]:
    """The prompts that the rollouts bring with them: one per benchmark and problem that has a gold answer."""
    prompts: dict[tuple[str, str], Prompt] = {}
    for rollout in recorded:
        if rollout.answer:
            key = (rollout.benchmark, rollout.prompt_id)
            prompts.setdefault(key, Prompt(rollout.prompt_id, rollout.benchmark, "math", rollout.problem, rollout.answer))
    return list(prompts.values())


def judge_recorded(
    pairs: Sequence[tuple[RecordedRollout, Prompt]],
    settings: GraderSettings,
    run_id: str,
    stage: Stage,
    source: str | None = None,
) -> list[Rollout]:
    """Judged rollouts of step 0 in the order given; `source` names them, else the benchmark of each."""
    texts, finishes = [rollout.response for rollout, _ in pairs], [rollout.finish_reason for rollout, _ in pairs]
    grades = grade_prompts(settings, texts, [prompt for _, prompt in pairs], finishes)
    return [
        Rollout(
            run_id=run_id,
            stage=stage,
            step=0,
            model=rollout.model,
            source=source or rollout.benchmark,
            prompt_id=prompt.prompt_id,
            sample_index=rollout.sample_index,
            num_tokens=rollout.num_tokens,
            finish_reason=rollout.finish_reason,
            answer=grade.answer,
            correct=grade.correct,
            grade_reason=grade.reason,
            text=rollout.response,
            **asdict(dissect(rollout.response, rollout.num_tokens, prompt, grade)),
        )
        for (rollout, prompt), grade in zip(pairs, grades, strict=True)
    ]


def cells(recorded: Sequence[RecordedRollout]) -> dict[tuple[str, str], list[RecordedRollout]]:
    """The rollouts by (model, benchmark), in the order in which these first appear."""
    found: dict[tuple[str, str], list[RecordedRollout]] = {}
    for rollout in recorded:
        found.setdefault((rollout.model, rollout.benchmark), []).append(rollout)
    return found
