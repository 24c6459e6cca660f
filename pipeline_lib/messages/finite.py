"""NaN and infinity are never numbers to train on: what finds them, and the error that names where they came from."""

from collections.abc import Callable
from typing import Any

import numpy as np


class NotFiniteError(ValueError):
    """A reward, advantage, log-prob, loss or gradient is NaN or infinite; the message is one line."""


def not_finite(values_PN: "np.ndarray[Any, Any]", what: str, name_of: Callable[[int, int], str]) -> str | None:
    """What is wrong with an array of numbers: its first value that is not finite, `name_of(row, column)`; None when all are."""
    found = np.argwhere(~np.isfinite(values_PN))
    if not len(found):
        return None
    row, column = map(int, found[0])
    others = f", and for {len(found) - 1} more" if len(found) > 1 else ""
    return f"{what} is {float(values_PN[row, column])} for {name_of(row, column)}{others}"


def stop_for(problem: str | None) -> None:
    """Raise NotFiniteError with a problem, where there is one."""
    if problem:
        raise NotFiniteError(problem)
