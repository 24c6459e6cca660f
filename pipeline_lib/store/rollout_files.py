"""Rollouts as Parquet files: written whole or not at all, read back as records. Needs pyarrow only, so workers can use it."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_lib.files.whole_files import replacing
from pipeline_lib.messages.faults import one_line
from pipeline_lib.records import Rollout

Depth = Literal["footer", "types", "pages"]

ROLLOUT_SCHEMA = pa.schema(
    [
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("step", pa.int32(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("sample_index", pa.int32(), nullable=False),
        pa.field("num_tokens", pa.int32(), nullable=False),
        pa.field("finish_reason", pa.string(), nullable=False),
        pa.field("answer", pa.string()),
        pa.field("correct", pa.bool_(), nullable=False),
        pa.field("grade_reason", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("reward", pa.float64()),
        pa.field("advantage", pa.float64()),
        pa.field("masked", pa.bool_(), nullable=False),
        pa.field("policy_lag", pa.int32(), nullable=False),
        pa.field("mean_logprob", pa.float64()),
    ]
)
assert ROLLOUT_SCHEMA.names == [field.name for field in fields(Rollout)]


def write_rollout_file(path: Path, rollouts: Sequence[Rollout]) -> Path:
    """Write rollouts to `path`, replacing what is there in one step; readers see the old file or the new one, never a part."""
    columns = [pa.array([getattr(rollout, field.name) for rollout in rollouts], type=field.type) for field in ROLLOUT_SCHEMA]
    table = pa.Table.from_arrays(columns, schema=ROLLOUT_SCHEMA)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return path


def read_rollout_file(path: Path) -> list[Rollout]:
    """Read the rollouts of one file, in the order they were written."""
    with pq.ParquetFile(path) as file:
        return [Rollout(**row) for row in file.read().to_pylist()]


def damage_of(path: Path, depth: Depth = "footer") -> str | None:
    """What keeps a file from being read as rollouts, in one line; None where nothing is found down to this depth."""
    try:
        with pq.ParquetFile(path) as file:
            if depth == "pages":
                file.read()
            found = {field.name: field.type for field in file.schema_arrow}
    except (pa.ArrowException, OSError) as error:
        return one_line(str(error))
    wrong = [field.name for field in ROLLOUT_SCHEMA if found.get(field.name, field.type) != field.type]
    return f"its column {wrong[0]} holds {found[wrong[0]]}" if wrong and depth != "footer" else None


def holds_rollouts(path: Path, num_rollouts: int) -> bool:
    """Whether there is a whole file of so many rollouts: one that a disk has damaged must be made again."""
    if not path.is_file() or damage_of(path, "pages"):
        return False
    return int(pq.read_metadata(path).num_rows) == num_rollouts
