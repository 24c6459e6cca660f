"""What the workers of Reasoning Gym do (see `grading.worker`): draw problems of its families and score answers to them.

Loaded by its path, without this package. Some of its scorers hand the answer, which a model has written, to `eval` or to sympy's
parser, which evaluates as well: so both get harmless text alone, and the process is confined by the kernel before any answer is there.
"""

import ast
import builtins
import json
import re
import site
import sys
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

# Of the built-in functions those that a formula may name.
_FORMULA_FUNCTIONS = {"abs", "min", "max", "pow", "round", "sum"}
_NAME = re.compile(r"[^\W\d]\w*")
_TRIES = 20  # draws for each problem that is wanted, before a family counts as exhausted


def start() -> None:
    """Import Reasoning Gym, then give up what scoring does not need: files to write, the network, other programs."""
    import reasoning_gym

    _guard_evaluation()
    sys.path.insert(0, str(Path(__file__).parents[1] / "code"))
    from sandbox import kernel, landlock, namespaces, seccomp  # type: ignore[import-not-found]

    sys.path.pop(0)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    packages = [*site.getsitepackages(), str(Path(reasoning_gym.__file__).parents[1])]
    landlock.restrict([*namespaces.readable_paths(), *packages], None)
    seccomp.install(False)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The reply: to "draw" prompts as value, to "score" a number from 0 to 1."""
    if request["do"] == "draw":
        return {"reason": "drawn", "value": draw(request["tasks"], request["seed"], request["number"])}
    parameters = json.dumps(request["parameters"])
    entry = {"question": request["question"], "answer": request["gold"], "metadata": _read(request["metadata"])}
    score = float(_dataset(request["task"], parameters, 0, 1).score_answer(request["answer"], entry))
    return {"reason": "scored", "value": min(max(score, 0.0), 1.0)}


def draw(tasks: dict[str, dict[str, Any]], seed: int, number: int) -> list[dict[str, Any]]:
    """`number` different problems, the tasks in turn. Raises ValueError for an unknown task, a wrong parameter, too few problems."""
    found: list[dict[str, Any]] = []
    shares = {task: number // len(tasks) + (place < number % len(tasks)) for place, task in enumerate(tasks)}
    drawn = [_draw_task(task, parameters, seed, shares[task]) for task, parameters in tasks.items()]
    for place in range(max(shares.values())):
        found += [problems[place] for problems in drawn if place < len(problems)]
    return found


def _draw_task(task: str, parameters: dict[str, Any], seed: int, number: int) -> list[dict[str, Any]]:
    problems: dict[str, dict[str, Any]] = {}
    dataset = _dataset(task, json.dumps(parameters), seed, _TRIES * number)
    for place in range(_TRIES * number):
        if len(problems) == number:
            break
        entry = dataset[place]
        if entry["question"] not in problems:
            problems[entry["question"]] = {
                "task": task,
                "question": entry["question"],
                "answer": None if entry["answer"] is None else str(entry["answer"]),
                "metadata": _write(entry["metadata"]),
            }
    if len(problems) < number:
        raise ValueError(f"task {task!r} has no more than {len(problems)} different problems with these parameters")
    return list(problems.values())


@cache
def _dataset(task: str, parameters: str, seed: int, size: int) -> Any:
    from reasoning_gym.factory import DATASETS, create_dataset

    if task not in DATASETS or task == "composite":
        near = ", ".join(get_close_matches(task, DATASETS, n=3, cutoff=0.4))
        raise ValueError(f"{task!r} is not one of the {len(DATASETS) - 1} tasks{near and f'; near: {near}'}")
    fields = {name for name in DATASETS[task][1].__dataclass_fields__ if name not in ("seed", "size")}
    given = json.loads(parameters)
    unknown = sorted(given.keys() - fields)
    if unknown:
        raise ValueError(f"task {task!r} has no parameter {', '.join(unknown)}; it has {', '.join(sorted(fields))}")
    try:
        return create_dataset(task, seed=seed, size=size, **given)
    except (AssertionError, TypeError, ValueError) as error:
        raise ValueError(f"task {task!r} refuses its parameters: {error}") from error


def _write(metadata: Any) -> str:
    """Metadata as text: a Python literal, which keeps tuples apart from lists, or JSON of what has other types."""
    text = repr(metadata)
    try:
        if ast.literal_eval(text) == metadata:
            return text
    except (ValueError, SyntaxError):
        pass
    return json.dumps(metadata, default=str)


def _read(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return json.loads(text)


def _guard_evaluation() -> None:
    """Put a guard before `eval` and sympy's parser wherever Reasoning Gym names them."""
    import sympy
    from sympy.parsing import sympy_parser

    parse = sympy_parser.parse_expr

    def guarded_parse(text: str, *rest: Any, **named: Any) -> Any:
        _require_formula(text)
        return parse(text, *rest, **named)

    sympy.parse_expr = sympy_parser.parse_expr = guarded_parse
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "reasoning_gym":
            vars(module).setdefault("eval", guarded_eval)
            if vars(module).get("parse_expr") is parse:
                vars(module)["parse_expr"] = guarded_parse


def guarded_eval(text: str) -> Any:
    """The value of a literal or of a formula. Raises ValueError for any other code."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        _require_formula(text)
        return eval(text, {})


def _require_formula(text: str) -> None:
    names = set(_NAME.findall(text))
    if re.search(r"""['"_:;\[\]{}\\@]|\.\s*[^\W\d]""", text) or names & (vars(builtins).keys() - _FORMULA_FUNCTIONS):
        raise ValueError("not a formula")
