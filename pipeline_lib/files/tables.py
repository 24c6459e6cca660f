"""Tables that users hand over and take away: Parquet, JSONL and CSV as Arrow tables, bad input as one clear line.

Nothing is guessed that could lose text. Every cell of a CSV is text. A column of a JSONL has a type of Arrow where that holds each
value exactly; one of several types, or of objects, is `arrow.json`, a JSON text a cell. Parquet has its own types.
"""

import csv
import itertools
import json
import math
import os
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_lib.files.jsonl import JSON, first_line, read_json, read_jsonl
from pipeline_lib.files.whole_files import replacing
from pipeline_lib.messages.harmless import write_csv

FORMATS = (".parquet", ".jsonl", ".csv")
ROWS_AT_ONCE = 10_000
_TRUTHS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def read_table(path: Path, required: Sequence[str] = ()) -> pa.Table:
    """The table in a .parquet, .jsonl or .csv file; every cell of a CSV is text, an empty cell is NULL.

    Raises ValueError, naming the file and the line or column at fault, for another kind of file, one that is empty, broken or
    not UTF-8, and for a missing or repeated column.
    """
    _check_format(path)
    if not path.is_file():
        raise ValueError(f"no file at {path}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty")
    try:
        table = _READERS[path.suffix](path)
    except UnicodeDecodeError as error:
        raise ValueError(_not_utf8(path)) from error
    names = table.column_names
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: column names repeat in {', '.join(names)}")
    if table.num_rows == 0:
        raise ValueError(f"{path} has no rows")
    missing = [name for name in required if name not in names]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(names)}")
    return table


def table_rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows of a table as Python's values (`column_values`)."""
    for start in range(0, table.num_rows, ROWS_AT_ONCE):
        part = table.slice(start, ROWS_AT_ONCE)
        for cells in zip(*(column_values(part, name) for name in table.column_names), strict=True):
            yield dict(zip(table.column_names, cells, strict=True))


def column_values(table: pa.Table, name: str) -> list[Any]:
    """A column as Python's values; a float of 16 or 32 bits is the shortest decimal that it stands for, not its 64-bit neighbour."""
    column = table.column(name)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.type == JSON:
        return [None if cell is None else read_json(cell) for cell in column.to_pylist()]
    if pa.types.is_float16(column.type):
        return [None if value is None else float(str(value)) for value in column.to_numpy()]
    as_text = _with_floats(column.type, pa.string())
    if as_text != column.type:
        column = column.cast(as_text).cast(_with_floats(column.type, pa.float64()))
    values: list[Any] = column.to_pylist()
    return values


def _with_floats(kind: pa.DataType, floats: pa.DataType) -> pa.DataType:
    """The type with `floats` in place of 32-bit floats, also those in lists and structs."""
    if pa.types.is_float32(kind):
        return floats
    if pa.types.is_list(kind):
        return pa.list_(_with_floats(kind.value_type, floats))
    if pa.types.is_large_list(kind):
        return pa.large_list(_with_floats(kind.value_type, floats))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_with_floats(kind.value_type, floats), kind.list_size)
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _with_floats(field.type, floats)) for field in kind])
    return kind


def text_column(table: pa.Table, name: str, path: Path, nullable: bool = False, of_answers: bool = False) -> list[str]:
    """A column as text (`text_of`), NULL and NaN as the empty text where `nullable`.

    Truths, lists and objects are text only where they are answers. Raises ValueError naming column and row for what is none.
    """
    values, texts = column_values(table, name), []
    for row, value in enumerate(values, start=1):
        if not isinstance(value, str):
            if not nullable and is_missing(value):
                raise ValueError(f"{path}: column {name} is empty in row {row}")
            if not of_answers and isinstance(value, bool | list | dict):
                raise ValueError(f"{path}: column {name} holds {type(value).__name__} in row {row}, not text")
            try:
                value = text_of(value)
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}: column {name} holds bytes that are not UTF-8 in row {row}") from error
        texts.append(value)
    return texts


def truth_column(table: pa.Table, name: str, path: Path) -> list[bool]:
    """A column of truths however they are written. Raises ValueError naming column and row for what is none."""
    truths = []
    for row, value in enumerate(column_values(table, name), start=1):
        truth = _TRUTHS.get(str(value).strip().lower())
        if truth is None:
            raise ValueError(f"{path}: {name} = {value!r} in row {row} is neither true nor false")
        truths.append(truth)
    return truths


def is_missing(value: Any) -> bool:
    """Whether there is no value: NULL, or NaN, as pandas writes it."""
    return value is None or (isinstance(value, float) and value != value)


def text_of(value: Any) -> str:
    """A value as text: the parts of a list joined by ', ', a mapping as JSON, a whole number without '.0', none empty.

    Raises UnicodeDecodeError for bytes that are not UTF-8.
    """
    if isinstance(value, str):
        return value.strip()
    if is_missing(value):
        return ""
    if isinstance(value, bytes):
        return value.decode().strip()
    if isinstance(value, list | tuple):
        return ", ".join(part for part in map(text_of, value) if part)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=text_of)
    if isinstance(value, float) and value.is_integer():
        # The digits of 1e23 as an integer are those of its binary neighbour.
        return str(int(value)) if abs(value) < 1e16 else f"{Decimal(repr(value)):f}"
    if isinstance(value, Decimal):
        # How many digits stand behind the point belongs to the column, not to the value.
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return str(value)


def check_output(path: Path) -> None:
    """Raises ValueError when a table cannot be written there: a name of another kind, a folder, no permission."""
    _check_format(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ValueError(f"{path} cannot be written: no permission in {parent}")


def write_table(path: Path, table: pa.Table, raw: bool = False) -> None:
    """Write a table as the format that the file's name ends in; a reader finds the old file or the whole new one.

    Cells of a CSV that a spreadsheet would execute are defused, unless `raw`.
    """
    _check_format(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        if path.suffix == ".parquet":
            pq.write_table(_without_json(table), temporary, compression="zstd")
            return
        with temporary.open("w", encoding="utf-8", newline="") as file:
            if path.suffix == ".csv":
                cells = ([_cell(value) for value in row.values()] for row in table_rows(table))
                write_csv(file, table.column_names, cells, raw, line_end="\r\n")
            else:
                file.writelines(_json(row) + "\n" for row in table_rows(table))


def _without_json(table: pa.Table) -> pa.Table:
    """The table with each column of JSON texts as what other readers of Parquet know: structs or lists, else text."""
    for place, field in enumerate(table.schema):
        if field.type == JSON:
            values = column_values(table, field.name)
            try:
                column = pa.array(values)
            except (pa.ArrowException, OverflowError):
                column = None
            if column is None or "struct<>" in str(column.type):
                column = pa.array([value if isinstance(value, str | None) else _json(value) for value in values])
            table = table.set_column(place, field.name, column)
    return table


def _plain(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _json(value: Any) -> str:
    """A value as JSON, which knows neither NaN (null) nor infinity (text)."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, default=_plain)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if is_missing(value) else str(value) if value in (math.inf, -math.inf) else value


def _cell(value: Any) -> Any:
    if is_missing(value):
        return None
    if isinstance(value, list | dict):
        return _json(value)
    if isinstance(value, bool):
        return str(value).lower()
    return _plain(value) if isinstance(value, bytes) else value


def _check_format(path: Path) -> None:
    if path.suffix not in FORMATS:
        raise ValueError(f"{path} does not end in {', '.join(FORMATS)}")


def _not_utf8(path: Path) -> str:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f"{path} is not UTF-8: byte 0x{line[error.start]:02x} in line {number}; convert it first"
    return f"{path} is not UTF-8: convert it first"


def _read_parquet(path: Path) -> pa.Table:
    try:
        # Not pq.read_table: that takes folders named a=b for columns.
        return pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a readable Parquet file: {first_line(error)}") from error


def _read_csv(path: Path) -> pa.Table:
    # Answers may be long; the module's default of 128 KiB a cell is not.
    csv.field_size_limit(1 << 30)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next((row for row in reader if row), None)
            if header is None:
                raise ValueError(f"{path} has no rows")
            parts = list(_csv_batches(path, reader, header))
        except csv.Error as error:
            raise ValueError(f"{path}: line {reader.line_num} is not CSV: {error}") from error
    return pa.Table.from_batches(parts, pa.schema([(name, pa.string()) for name in header]))


def _csv_batches(path: Path, reader: Iterator[list[str]], header: Sequence[str]) -> Iterator[pa.RecordBatch]:
    rows = enumerate((row for row in reader if row), start=1)
    while batch := list(itertools.islice(rows, ROWS_AT_ONCE)):
        for number, row in batch:
            if len(row) != len(header):
                raise ValueError(f"{path}: row {number} has {len(row)} cells, the header {len(header)}")
        columns = zip(*(row for _, row in batch), strict=True)
        yield pa.record_batch([pa.array([cell or None for cell in cells], pa.string()) for cells in columns], list(header))


_READERS = {".parquet": _read_parquet, ".jsonl": read_jsonl, ".csv": _read_csv}
