"""Rollouts as Parquet files: written whole or not at all, read back as records. Needs pyarrow only, so workers can use it.

A stage writes `rollouts/<run_id>/<stage>/<name>.parquet`; compaction makes of them
`rollouts/<run_id>/compacted/run_id=<run_id>/stage=<stage>/<name>.parquet`, whose names begin alike.
"""

import glob
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_lib.files.whole_files import replacing
from pipeline_lib.messages.faults import one_line
from pipeline_lib.records import Rollout

Depth = Literal["footer", "types", "pages"]

_ARROW_TYPES = {str: pa.string(), int: pa.int32(), float: pa.float64(), bool: pa.bool_()}


def _arrow_field(name: str, annotation: Any) -> pa.Field:
    options = get_args(annotation) or (annotation,)
    # The values of a Literal stand for their type.
    kinds = [option if isinstance(option, type) else type(option) for option in options]
    return pa.field(name, _ARROW_TYPES[kinds[0]], nullable=NoneType in kinds)


ROLLOUT_SCHEMA = pa.schema([_arrow_field(*column) for column in get_type_hints(Rollout).items()])
COMPACTED = "compacted"
# No two texts are alike, and no question goes by their order.
_BUT_TEXTS = [name for name in ROLLOUT_SCHEMA.names if name != "text"]
PARQUET = {"compression": "zstd", "use_dictionary": _BUT_TEXTS, "write_statistics": ["rollout_id", *_BUT_TEXTS]}


def compacted_folder(folder: Path) -> Path:
    """Where the compacted files of the stage lie whose own are in `folder`."""
    return folder.parent / COMPACTED / f"run_id={folder.parent.name}" / f"stage={folder.name}"


def stage_files(folder: Path, prefix: str = "") -> list[Path]:
    """The files of a stage, compacted ones last, whose names begin with `prefix`."""
    pattern = f"{glob.escape(prefix)}*.parquet"
    return [path for place in (folder, compacted_folder(folder)) for path in sorted(place.glob(pattern))]


def owner_of(path: Path) -> tuple[str, str]:
    """The run and the stage that a file belongs to."""
    stage, run_id = path.parent.name, path.parent.parent.name
    return run_id.removeprefix("run_id="), stage.removeprefix("stage=")


def write_rollout_file(path: Path, rollouts: Sequence[Rollout]) -> Path:
    """Write rollouts to `path`, replacing what is there in one step; readers see the old file or the new one, never a part."""
    columns = [pa.array([getattr(rollout, field.name) for rollout in rollouts], type=field.type) for field in ROLLOUT_SCHEMA]
    table = pa.Table.from_arrays(columns, schema=ROLLOUT_SCHEMA)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, **PARQUET)
    return path


def read_rollout_file(path: Path) -> list[Rollout]:
    """Read the rollouts of one file, in the order they were written."""
    with pq.ParquetFile(path) as file:
        columns = [name for name in file.schema_arrow.names if name in ROLLOUT_SCHEMA.names]
        return [Rollout(**row) for row in file.read(columns=columns).to_pylist()]


def read_stage_rollouts(folder: Path, prefix: str) -> list[Rollout]:
    """Read the rollouts of a stage's files, each once, also while another process compacts them."""
    while True:
        files = stage_files(folder, prefix)
        try:
            rollouts = [rollout for path in files for rollout in read_rollout_file(path)]
        except FileNotFoundError:
            continue
        if stage_files(folder, prefix) == files:
            return rollouts


def damage_of(path: Path, depth: Depth = "footer") -> str | None:
    """What keeps a file from being read as rollouts, in one line; None where nothing is found down to this depth."""
    try:
        with pq.ParquetFile(path) as file:
            for number in range(file.num_row_groups if depth == "pages" else 0):
                file.read_row_group(number)
            found = {field.name: field.type for field in file.schema_arrow}
    except (pa.ArrowException, OSError) as error:
        return one_line(str(error))
    wrong = [field.name for field in ROLLOUT_SCHEMA if found.get(field.name, field.type) != field.type]
    return f"its column {wrong[0]} holds {found[wrong[0]]}" if wrong and depth != "footer" else None


def whole_groups(path: Path, num_rollouts: int) -> set[str]:
    """The prompts of a file, if it holds `num_rollouts` rollouts of each; none where a disk has damaged it."""
    if not path.is_file() or damage_of(path, "pages"):
        return set()
    with pq.ParquetFile(path) as file:
        counts = Counter(file.read(columns=["prompt_id"]).column("prompt_id").to_pylist())
    return set(counts) if set(counts.values()) == {num_rollouts} else set()
