"""Compacts the rollout files of a whole home: what runs of older versions left, or what was in somebody's way at a stage's end."""

from pathlib import Path
from typing import get_args

from pipeline_lib.files.whole_files import remove_unfinished
from pipeline_lib.processes import lock_run
from pipeline_lib.records import Stage
from pipeline_lib.store.database import Store


def compact_home(home: Path) -> dict[str, int | None]:
    """By run, how many files fewer there are; None for a run that is being worked on: that compacts its own.

    May be killed and repeated. Raises ValueError when `home` holds no store.
    """
    if not (home / "laconic.duckdb").exists():
        raise ValueError(f"LACONIC_HOME = {home} holds no laconic.duckdb")
    store, fewer = Store(home), dict[str, int | None]()
    for folder in sorted(path.parent for path in store.rollouts_folder.glob("[!~]*/*") if path.name in get_args(Stage)):
        if folder.name in fewer:
            continue
        try:
            lock = lock_run(home, folder.name)
        except ValueError:
            fewer[folder.name] = None
            continue
        with lock:
            store.named("named_runs")  # completes what a killed compaction left
            remove_unfinished(folder)
            fewer[folder.name] = sum(store.compact(folder.name, stage) for stage in get_args(Stage))
    return fewer
