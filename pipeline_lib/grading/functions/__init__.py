"""Graders that are functions: a user's own, called with response and prompt, and the scorers of Reasoning Gym's families."""

import importlib.machinery
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from pipeline_lib.files.home import file_digest
from pipeline_lib.grading.pool import Outcome, Program, Request, try_start, worker_pool
from pipeline_lib.messages.harmless import visible_line
from pipeline_lib.records import Prompt

HEADROOM_BYTES = 4 << 30
CHECK_SECONDS = 60.0
DRAW_SECONDS = 600.0
LONGEST_REASON = 200
GYM_MISSING = "kind = 'gym' needs Reasoning Gym, which is not installed: pip install 'laconic[gym]'"
# With other seeds of its sets, some families draw other problems in every process.
_GYM_ENVIRONMENT = tuple((name, os.environ[name]) for name in ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH") if name in os.environ)
_GYM_ENVIRONMENT += (("PYTHONHASHSEED", "0"), ("PYTHONUTF8", "1"), ("OMP_NUM_THREADS", "1"))


class FunctionSettings(Protocol):
    """What a source says of a grader that is a function."""

    @property
    def grader(self) -> str: ...
    @property
    def function(self) -> str | None: ...
    @property
    def correct_score(self) -> float: ...
    @property
    def grading_seconds(self) -> float: ...


def judge_by_function(
    settings: FunctionSettings,
    responses: Sequence[str],
    prompts: Sequence[Prompt],
    timeout_seconds: float | None = None,
    on_done: Callable[[int], None] | None = None,
) -> list[Outcome]:
    """The outcome of each response, in order: correct or wrong (with the score and what the function says), timeout or error.

    For grader "gym" the `responses` are the answers in them. Raises ValueError when the function cannot be called at all.
    """
    program = gym_program() if settings.grader == "gym" else function_program(settings.function or "")
    asked = gym_request if settings.grader == "gym" else function_request
    requests = [asked(response, prompt) for response, prompt in zip(responses, prompts, strict=True)]
    try:
        outcomes = worker_pool(program).judge(
            requests, timeout_seconds or settings.grading_seconds, lambda *_: on_done(1) if on_done else None
        )
    except RuntimeError as error:
        raise ValueError(
            f"grader = {settings.grader!r}, function = {settings.function!r}: {visible_line(str(error))}"
        ) from error
    return [_verdict(outcome, settings.correct_score) for outcome in outcomes]


def _verdict(outcome: Outcome, correct_score: float) -> Outcome:
    if outcome.reason != "scored":
        return Outcome(_with_detail(outcome.reason, outcome.detail), outcome.seconds)
    score = float(outcome.value)
    partial = f"score {score:g}" if 0 < score < 1 else ""
    detail = "; ".join(part for part in (partial, outcome.detail) if part)
    return Outcome(_with_detail("correct" if score >= correct_score else "wrong", detail), outcome.seconds)


def _with_detail(reason: str, detail: str) -> str:
    """A reason, and behind a colon what is to be said of it, in one line that a terminal takes."""
    line = visible_line(" ".join(detail.split()))
    return f"{reason}: {line}"[:LONGEST_REASON] if line else reason


def function_request(response: str, prompt: Prompt) -> Request:
    """What a user's function is called with."""
    metadata = json.loads(prompt.tests) if prompt.tests else {}
    known = {"id": prompt.prompt_id, "source": prompt.source, "domain": prompt.domain, "tolerance": prompt.tolerance}
    return {"response": response, "prompt": {**known, "problem": prompt.problem, "answer": prompt.answer, "metadata": metadata}}


def function_program(name: str) -> Program:
    """The workers that call "module:name"; others where the module's file has changed."""
    return Program(Path(__file__).with_name("call_python.py"), (name,), HEADROOM_BYTES, version=function_digest(name))


def function_problem(name: str) -> str | None:
    """What is wrong with "module:name", in one line, found by importing it in a process of its own; None: nothing."""
    problem = try_start(function_program(name), CHECK_SECONDS)
    return problem and visible_line(problem.removeprefix("ValueError: "))


def function_digest(name: str) -> str:
    """Digest of the file of the module of "module:name"; empty where there is none. Nothing is imported."""
    path: Any = None
    for end in range(1, len(parts := name.partition(":")[0].split(".")) + 1):
        full_name = ".".join(parts[:end])
        found = _find(full_name, path)
        if found is None:
            return ""
        path = found.submodule_search_locations
    return file_digest(Path(found.origin)) if found and found.origin and Path(found.origin).is_file() else ""


def _find(name: str, path: Any) -> importlib.machinery.ModuleSpec | None:
    if path is not None:
        return importlib.machinery.PathFinder.find_spec(name, path)
    if name in sys.modules:
        return sys.modules[name].__spec__
    return importlib.util.find_spec(name) or importlib.machinery.PathFinder.find_spec(name, [os.getcwd()])


def gym_program() -> Program:
    """The workers that draw and score Reasoning Gym's problems."""
    return Program(Path(__file__).with_name("call_gym.py"), (), HEADROOM_BYTES, _GYM_ENVIRONMENT)


def gym_version() -> str | None:
    """The version of Reasoning Gym that is installed here."""
    try:
        return version("reasoning-gym")
    except PackageNotFoundError:
        return None


def gym_request(answer: str, prompt: Prompt) -> Request:
    """What asks the scorer of a prompt's family."""
    return {"do": "score", "answer": answer, "question": prompt.problem, **json.loads(prompt.tests or "{}")}


def draw_gym(tasks: dict[str, dict[str, Any]], seed: int, number: int) -> list[dict[str, Any]]:
    """`number` different problems of some families in turn: task, question, answer, and `tests`, which `gym_request` reads.

    Raises ValueError for an unknown task or parameter, too few different problems, or where the package is missing.
    """
    if gym_version() is None:
        raise ValueError(GYM_MISSING)
    try:
        (drawn,) = worker_pool(gym_program()).judge(
            [{"do": "draw", "tasks": tasks, "seed": seed, "number": number}], DRAW_SECONDS
        )
    except RuntimeError as error:
        raise ValueError(f"Reasoning Gym: {visible_line(str(error))}") from error
    if drawn.reason != "drawn":
        detail = drawn.detail.removeprefix("ValueError: ") or f"nothing is drawn within {DRAW_SECONDS:g} s"
        raise ValueError(f"Reasoning Gym: {visible_line(detail)}")
    return [
        {
            **row,
            "tests": json.dumps(
                {key: row[key] for key in ("task", "metadata")} | {"parameters": tasks[row["task"]], "gold": row["answer"]}
            ),
        }
        for row in drawn.value
    ]


def answer_in_tags(response: str) -> str | None:
    """What stands in the last <answer> and </answer>, which Reasoning Gym's own prompts ask for; None for none."""
    before, closed, _ = response.rpartition("</answer>")
    _, opened, answer = before.rpartition("<answer>")
    return answer.strip() if closed and opened else None
