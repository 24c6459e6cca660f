"""What differs between configurations: only the keys whose values are not the same everywhere."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MISSING = "–"


def differing_settings(configs: Sequence[Mapping[str, Any]]) -> list[tuple[str, tuple[str, ...]]]:
    """(key, its value in each configuration as text) for every key that differs, in the order of the configurations.

    Keys are dotted; a table in a list is called by its name: `evaluate.benchmarks[aime25].num_prompts`. A key that is absent or
    has no value shows as a dash. `name` is left out: it is what the runs are called.
    """
    flat = [{key: value for key, value in _leaves(config) if key != "name"} for config in configs]
    keys = dict.fromkeys(key for config in flat for key in config)
    rows = [(key, tuple(config.get(key, MISSING) for config in flat)) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def run_labels(names: Sequence[str], run_ids: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each run is called: its name, and where several share it what tells them apart, or else their ids."""
    labels = []
    for name, run_id in zip(names, run_ids, strict=True):
        same = [place for place, other in enumerate(names) if other == name]
        if len(same) == 1:
            labels.append(name)
            continue
        differing = differing_settings([configs[place] for place in same])
        own = same.index(run_ids.index(run_id))
        told = [f"{key.rpartition('.')[2]}={values[own]}" for key, values in differing]
        short = len(told) in (1, 2) and len(", ".join(told)) <= 40
        labels.append(f"{name} ({', '.join(told)})" if short else run_id)
    return labels if len(set(labels)) == len(labels) else list(run_ids)


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for place, item in enumerate(value):
            yield from _leaves(item, f"{key}[{item.get('name', place)}]")
    elif value is not None:
        yield key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
