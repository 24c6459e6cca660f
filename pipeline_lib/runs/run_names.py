"""Finds the runs that a user means: by id, name, the beginning of an id, or a configuration file."""

import difflib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline_lib.config import load_config

# Candidates that an error names.
LISTED = 8


def is_config(word: str) -> bool:
    """Whether a word means a configuration file, and not a run."""
    return word.endswith(".toml") or Path(word).is_file()


def choose_runs(home: Path, words: Sequence[str], overrides: Sequence[str] = ()) -> list[str]:
    """The run_ids that words stand for; `overrides` are changes in every configuration file among them.

    Raises ValueError for a run that is not in the store, or one that is named twice.
    """
    from pipeline_lib.store.database import Store

    if overrides and not any(map(is_config, words)):
        raise ValueError("--set changes configuration files, and none is given")
    runs = Store(home).named("named_runs")
    chosen: dict[str, str] = {}
    for word in words:
        run_id = _configured_run(word, overrides, runs) if is_config(word) else resolve_run(word, runs)
        if run_id in chosen:
            raise ValueError(f"{chosen[run_id]!r} and {word!r} are the same run, {run_id}: a run is not compared with itself")
        chosen[run_id] = word
    return list(chosen)


def _configured_run(path: str, overrides: Sequence[str], runs: Sequence[Mapping[str, Any]]) -> str:
    run_id = load_config(path, list(overrides)).run_id
    if not any(run["run_id"] == run_id for run in runs):
        raise ValueError(f"{path} describes run {run_id}, which is not in the store: run 'laconic run {path}' first")
    return run_id


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
    near = _nearest(word, runs)
    which = "the nearest are" if near else "the newest are"
    raise ValueError(f"no run {word!r}; {which} {_listed(near or _newest_first(runs))}")


def _nearest(word: str, runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        for text in {run["run_id"], run["name"]}:
            by_name.setdefault(text, []).append(run)
    near = [run for text in difflib.get_close_matches(word, by_name, n=LISTED, cutoff=0.5) for run in by_name[text]]
    return list({run["run_id"]: run for run in near}.values())


def _newest_first(runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    never = datetime.min
    return sorted(runs, key=lambda run: (run.get("started_at") or never).replace(tzinfo=None), reverse=True)


def _listed(runs: Sequence[Mapping[str, Any]]) -> str:
    ids = [str(run["run_id"]) for run in runs]
    more = f" and {len(ids) - LISTED} more" if len(ids) > LISTED else ""
    return f"{', '.join(ids[:LISTED])}{more} ('laconic sql \"select run_id, name from runs\"' lists all)"
