"""Compaction of rollout files: many small files of a stage become few large ones, row groups in the order of the steps.

What takes the place of what is a switch: noted in a journal, then the new file gets its name and the old ones are deleted. A switch is
made, and one that a killed process left is completed, by whoever has the database file for itself: nobody reads the view meanwhile.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline_lib.files.whole_files import flush, replacing
from pipeline_lib.store.rollout_files import PARQUET, ROLLOUT_SCHEMA, compacted_folder

# A row group is what a question for one rollout reads: of its text, and of the other columns.
ROW_GROUP_BYTES = 64 << 20
ROW_GROUP_ROWS = 16_384
LARGEST_FILE_BYTES = 1 << 30
JOURNALS = ".switches"

# Older files lack the columns that have come since.
_SCHEMA = pa.schema([pa.field("rollout_id", pa.string()), *(field.with_nullable(True) for field in ROLLOUT_SCHEMA)])
_NUMBER = re.compile(r"(-\d{5}-of-\d{5}|-\d{5,}(-rank-\d+)?|-imported|-[0-9a-f]{8}c)$")


@dataclass(frozen=True, slots=True)
class _Input:
    path: Path
    num_rows: int
    first_step: int
    last_step: int
    is_compacted: bool


def compactable(folder: Path, last_step: int | None = None) -> list[list[Path]]:
    """What files of a stage to merge, in their order: of one unit each, at most LARGEST_FILE_BYTES together.

    Of a training that goes on, finished steps up to `last_step` alone, whose compacted files are left as they are. Files that
    cannot be read, or have a column that this version does not know, stay.
    """
    places = [folder] if last_step is not None else [folder, compacted_folder(folder)]
    units: dict[str, list[_Input]] = {}
    for path in sorted(path for place in places for path in place.glob("*.parquet")):
        found = _look_at(path)
        if found and (last_step is None or found.last_step <= last_step):
            units.setdefault(_NUMBER.sub("", path.stem), []).append(found)
    return [
        [each.path for each in part]
        for files in units.values()
        for part in _parts(sorted(files, key=lambda each: (each.first_step, each.path.name)))
        if len(part) > 1 or (last_step is not None and not part[0].is_compacted)
    ]


def _look_at(path: Path) -> _Input | None:
    try:
        metadata = pq.read_metadata(path)
    except (pa.ArrowException, OSError):
        return None
    names = metadata.schema.names
    if not set(names) <= set(_SCHEMA.names) or not metadata.num_rows:
        return None
    steps = [metadata.row_group(number).column(names.index("step")).statistics for number in range(metadata.num_row_groups)]
    if not all(steps):
        return None
    first, last = min(each.min for each in steps), max(each.max for each in steps)
    return _Input(path, metadata.num_rows, first, last, "rollout_id" in names)


def _parts(files: Sequence[_Input]) -> Iterator[list[_Input]]:
    part: list[_Input] = []
    size = 0
    for each in files:
        num_bytes = each.path.stat().st_size
        if part and size + num_bytes > LARGEST_FILE_BYTES:
            yield part
            part, size = [], 0
        part.append(each)
        size += num_bytes
    if part:
        yield part


def merge(folder: Path, files: Sequence[Path], last_step: int | None = None) -> "Switch":
    """Write the rows of files of a stage (those up to `last_step`) as one file that is not seen yet. The rows are counted."""
    target = compacted_folder(folder)
    target.mkdir(parents=True, exist_ok=True)
    final = target / f"{_NUMBER.sub('', files[0].stem)}-{uuid4().hex[:8]}c.parquet"
    temporary = final.with_name(f".{final.name}.tmp")
    num_rows = 0
    with pq.ParquetWriter(temporary, _SCHEMA, **PARQUET) as writer:
        for table in _row_groups(_tables(files, last_step)):
            num_rows += table.num_rows
            writer.write_table(table, row_group_size=table.num_rows)
    flush(temporary)
    written = pq.read_metadata(temporary).num_rows
    expected = sum(pq.read_metadata(path).num_rows for path in files)
    assert written == num_rows and (num_rows == expected or last_step is not None), f"{num_rows} rows of {expected} are written"
    return Switch(temporary, final, tuple(files))


def _tables(files: Iterable[Path], last_step: int | None) -> Iterator[pa.Table]:
    for path in files:
        with pq.ParquetFile(path) as file:
            for number in range(file.num_row_groups):
                table = _with_ids(file.read_row_group(number))
                yield table if last_step is None else table.filter(pc.field("step") <= last_step)


def _with_ids(table: pa.Table) -> pa.Table:
    columns = {
        field.name: table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in ROLLOUT_SCHEMA
    }
    words = {name: columns[name].cast(pa.string()) for name in ("step", "sample_index")}
    model = pc.binary_join_element_wise(columns["model"], words["step"], "-")
    parts = [columns["run_id"], columns["stage"], model, columns["prompt_id"], words["sample_index"]]
    return pa.table({"rollout_id": pc.binary_join_element_wise(*parts, "/"), **columns}, schema=_SCHEMA)


def _row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    held: list[pa.Table] = []

    def taken() -> pa.Table:
        order = [("step", "ascending"), ("prompt_id", "ascending"), ("sample_index", "ascending")]
        table = pa.concat_tables(held).sort_by(order)
        held.clear()
        return table

    for table in tables:
        num_rows, num_bytes = (sum(map(count, [*held, table])) for count in (lambda t: t.num_rows, lambda t: t.nbytes))
        if held and (num_rows > ROW_GROUP_ROWS or num_bytes > ROW_GROUP_BYTES):
            yield taken()
        if table.num_rows:
            held.append(table)
    if held:
        yield taken()


@dataclass(frozen=True, slots=True)
class Switch:
    """A file that takes the place of others: `new` is called `final` when they are to go; None: they just go."""

    new: Path | None
    final: Path | None
    old: tuple[Path, ...]

    def make(self, rollouts_folder: Path) -> None:
        """Note it, and do it; right only with the database file for oneself."""
        journal = rollouts_folder / JOURNALS / f"{uuid4().hex}.json"
        journal.parent.mkdir(exist_ok=True)
        relative = {
            "new": self.new and str(self.new.relative_to(rollouts_folder)),
            "final": self.final and str(self.final.relative_to(rollouts_folder)),
            "old": [str(path.relative_to(rollouts_folder)) for path in self.old],
        }
        # Written among the run's files: whoever holds the run next removes what is unfinished there.
        run_id = (self.final or self.old[0]).relative_to(rollouts_folder).parts[0]
        temporary = rollouts_folder / run_id / f".{journal.name}.tmp"
        temporary.write_text(json.dumps(relative), encoding="utf-8")
        flush(temporary)
        os.replace(temporary, journal)
        flush(journal.parent)
        self.complete()
        journal.unlink()

    def complete(self) -> None:
        """Do what is left of it; nothing where the new file is lost and the old ones stay."""
        if self.new and self.final:
            with suppress(FileNotFoundError):
                os.replace(self.new, self.final)
            if not self.final.exists():
                return
            flush(self.final.parent)
        for path in self.old:
            path.unlink(missing_ok=True)

    def forget(self) -> None:
        """Delete the new file: it takes no other's place."""
        if self.new:
            self.new.unlink(missing_ok=True)

    @property
    def superseded(self) -> set[Path]:
        """What is not to be read while it is not completed."""
        return set(self.old) if self.final is None or self.final.exists() else set()


def pending_switches(rollouts_folder: Path) -> dict[Path, Switch]:
    """What killed processes have left, by journal."""
    found = {}
    for journal in (rollouts_folder / JOURNALS).glob("*.json"):
        try:
            noted = json.loads(journal.read_text(encoding="utf-8"))
        except FileNotFoundError:  # another process has completed it
            continue
        new, final = (noted[key] and rollouts_folder / noted[key] for key in ("new", "final"))
        found[journal] = Switch(new, final, tuple(rollouts_folder / name for name in noted["old"]))
    return found


def complete_switches(rollouts_folder: Path) -> None:
    """Do what is left of the switches of killed processes; right only with the database file for oneself."""
    for journal, switch in pending_switches(rollouts_folder).items():
        switch.complete()
        journal.unlink(missing_ok=True)


def cut_after(folder: Path, last_step: int) -> Iterator[Switch]:
    """What takes the rows of later steps than `last_step` from a training's files: a switch for each that has any."""
    for path in folder.glob("step-*-rank-*.parquet"):
        if int(path.name.split("-")[1]) > last_step:
            yield Switch(None, None, (path,))
    for path in compacted_folder(folder).glob("*.parquet"):
        found = _look_at(path)
        if found and found.last_step > last_step:
            yield merge(folder, [path], last_step) if found.first_step <= last_step else Switch(None, None, (path,))


def schema_files(rollouts_folder: Path) -> tuple[Path, Path]:
    """Files without rows, one of each kind: a view over no file cannot be made. Their names are last, for DuckDB looks at the first."""
    folder = rollouts_folder / "~" / "~"
    return compacted_folder(folder) / "columns.parquet", folder / "columns.parquet"


def write_schema_file(path: Path) -> None:
    """Write a file that only carries the columns."""
    schema = _SCHEMA if path.parent.name.startswith("stage=") else ROLLOUT_SCHEMA
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        pq.write_table(schema.empty_table(), temporary, **PARQUET)
