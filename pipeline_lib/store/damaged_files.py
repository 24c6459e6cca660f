"""Rollout files that a disk, a copy or a hand has damaged: found once a query has failed, so that sound homes pay nothing."""

import logging
from collections.abc import Callable
from pathlib import Path

import duckdb

from pipeline_lib.store.compaction import schema_files, write_schema_file
from pipeline_lib.store.connections import StoreBusyError
from pipeline_lib.store.rollout_files import Depth, damage_of

logger = logging.getLogger(__name__)

DEPTHS: tuple[Depth, ...] = ("footer", "types", "pages")
# What DuckDB raises for content that it cannot read. A column of another type may be a mistake in a statement for it.
_READING = (duckdb.InvalidInputException, duckdb.IOException, duckdb.ConversionException, duckdb.InternalException)
HINT = "delete it or bring it back from a backup; its stage generates it again with --force, or when it was interrupted there"


def find_damaged(folder: Path, error: Exception) -> dict[Path, str]:
    """The files below a folder that an error of a query can come from, and why.

    A closer look is taken only where the one before finds none, and pages are not read for what may be a mistake in a statement.
    """
    origin = error.__cause__ or error
    if isinstance(error, StoreBusyError) or not isinstance(origin, duckdb.Error):
        return {}
    paths = rollout_paths(folder)
    reads = isinstance(origin, _READING) or type(origin) is duckdb.Error  # the latter for a broken page
    for depth in DEPTHS if reads else DEPTHS[:2]:
        found = {path: damage for path in paths if (damage := damage_of(path, depth))}
        if found:
            return found
    return {}


def rollout_paths(folder: Path) -> list[Path]:
    """The files that the view reads."""
    return sorted(path for path in folder.glob("**/*.parquet") if path.is_file())


def rewrite_schema_files(folder: Path, damaged: dict[Path, str]) -> dict[Path, str]:
    """Write what only carries the columns anew where it is damaged; returns the other damaged files."""
    ours = [path for path in schema_files(folder) if path in damaged]
    try:
        for path in ours:
            write_schema_file(path)
    except OSError:
        return damaged
    return {path: damage for path, damage in damaged.items() if path not in ours}


def warn_of_damaged(damaged: dict[Path, str], warned_of: set[Path], is_needed: Callable[[Path], bool]) -> None:
    """Warn, once a file, of what a query goes without. Raises ValueError for a file that its answer would be wrong without."""
    for path, damage in damaged.items():
        if is_needed(path):
            raise ValueError(f"{path} is damaged ({damage}): {HINT}")
        if path not in warned_of:
            warned_of.add(path)
            logger.warning("left out, since it is damaged: %s (%s); %s", path, damage, HINT)
