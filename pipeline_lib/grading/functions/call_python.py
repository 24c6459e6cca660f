"""What the workers of grader "python" do (see `grading.worker`): call a function of the user's.

Loaded by its path, without this package.
"""

import importlib
import inspect
import math
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

_grade: Callable[..., Any]


def start(name: str) -> None:
    """Import the function "module:name". Raises ValueError with what is wrong with it."""
    global _grade
    # Behind all else, so that a file there hides no library.
    sys.path.append(os.getcwd())
    module_name, _, attributes = name.partition(":")
    if not module_name or not attributes:
        raise ValueError(f"{name!r} is not of the form module:name")
    try:
        found: Any = importlib.import_module(module_name)
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
    except BaseException as error:
        raise ValueError(describe(error)) from error
    if not callable(found):
        raise ValueError(f"{name} is {type(found).__name__}, not a function")
    try:
        signature: inspect.Signature | None = inspect.signature(found)
    except (TypeError, ValueError):  # some built-in functions tell none
        signature = None
    try:
        if signature is not None:
            signature.bind("", {})
    except TypeError as error:
        raise ValueError(f"{name}{signature} cannot be called with (response, prompt)") from error
    _grade = found


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The reply to a response and its prompt: a score from 0 to 1 as value, and what the function says of it."""
    try:
        returned = _grade(request["response"], request["prompt"])
    except BaseException as error:  # sys.exit() is no way to end this process
        return {"reason": "error", "detail": describe(error)}
    value, said = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, "")
    score = as_score(value)
    if score is None or not (said is None or isinstance(said, str)):
        return {
            "reason": "error",
            "detail": f"returned {shown(returned)}, not True, False or a score from 0 to 1, alone or with a text",
        }
    return {"reason": "scored", "value": score, "detail": (said or "")[:500]}


def as_score(value: Any) -> float | None:
    """True and False as 1 and 0, a number from 0 to 1 as it is, also numpy's; None for anything else."""
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        value = value.item()
    if not isinstance(value, bool | int | float) or math.isnan(value) or not 0 <= value <= 1:
        return None
    return float(value)


def describe(error: BaseException) -> str:
    """An error in one line, with the place of the user's own code that raised it."""
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename not in (__file__, importlib.__file__) and not frame.filename.startswith("<frozen"):
            place = f" ({os.path.basename(frame.filename)}, line {frame.lineno})"
    return f"{type(error).__name__}: {str(error)[:200]}{place}"


def shown(value: Any) -> str:
    """A value as it looks, in short."""
    try:
        return repr(value)[:60]
    except Exception:
        return f"a {type(value).__name__}"
