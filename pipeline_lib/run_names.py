"""Finds the run that a user means: by its id, its name, or the beginning of its id."""

import difflib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

# Candidates that an error names.
LISTED = 8


def resolve_run(word: str, runs: Sequence[Mapping[str, Any]]) -> str:
    """The run_id that `word` stands for: the id itself, else the name of one run, else the beginning of one id.

    `runs` are rows of the table `runs`. Raises ValueError that lists candidates when there is none, or more than one.
    """
    if any(run["run_id"] == word for run in runs):
        return word
    named = [run for run in runs if run["name"] == word]
    found = named or [run for run in runs if word and run["run_id"].startswith(word)]
    if len(found) == 1:
        return str(found[0]["run_id"])
    if found:
        how = "is the name of" if named else "is how the ids begin of"
        raise ValueError(f"{word!r} {how} {len(found)} runs; give the id of one: {_listed(_newest_first(found))}")
    if not runs:
        raise ValueError(f"no run {word!r}: the store has no runs yet")
    raise ValueError(f"no run {word!r}; {_listed(_nearest(word, runs))}")


def _nearest(word: str, runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        for text in {run["run_id"], run["name"]}:
            by_name.setdefault(text, []).append(run)
    near = [run for text in difflib.get_close_matches(word, by_name, n=LISTED, cutoff=0.5) for run in by_name[text]]
    unique = list({run["run_id"]: run for run in near}.values())
    return unique or _newest_first(runs)


def _newest_first(runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    never = datetime.min
    return sorted(runs, key=lambda run: (run.get("started_at") or never).replace(tzinfo=None), reverse=True)


def _listed(runs: Sequence[Mapping[str, Any]]) -> str:
    ids = [str(run["run_id"]) for run in runs]
    more = f" and {len(ids) - LISTED} more" if len(ids) > LISTED else ""
    return f"{', '.join(ids[:LISTED])}{more} ('laconic sql \"select run_id, name from runs\"' lists all)"
