"""Tables that users hand over and take away: Parquet, JSONL and CSV as Arrow tables, bad input as one clear line."""

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_lib.files.whole_files import replacing
from pipeline_lib.messages.harmless import write_csv

FORMATS = (".parquet", ".jsonl", ".csv")
# The types of Arrow that are text or can be written out as it.
_TEXT_TYPES = ("string", "large_string", "integer", "floating", "decimal", "null")


def read_table(path: Path, required: Sequence[str] = ()) -> pa.Table:
    """The table in a .parquet, .jsonl or .csv file; every cell of a CSV is text, an empty cell is NULL.

    Raises ValueError, naming the file and the line or column at fault, for another kind of file, one that is empty, broken or
    not UTF-8, and for a missing column.
    """
    _check_format(path)
    if not path.is_file():
        raise ValueError(f"no file at {path}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty")
    if path.suffix == ".parquet":
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{path} is not a readable Parquet file: {first_line(error)}") from error
    else:
        text = _decode(path)
        table = _parse_jsonl(path, text) if path.suffix == ".jsonl" else _parse_csv(path, text)
    missing = [name for name in required if name not in table.column_names]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(table.column_names)}")
    if table.num_rows == 0:
        raise ValueError(f"{path} has no rows")
    return table


def text_column(table: pa.Table, name: str, path: Path, nullable: bool = False) -> list[str]:
    """A column as text, numbers written out, NULL as the empty text where `nullable`.

    Raises ValueError naming column and row for any other type.
    """
    column = table.column(name)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not any(getattr(pa.types, f"is_{kind}")(column.type) for kind in _TEXT_TYPES):
        raise ValueError(f"{path}: column {name} holds {column.type}, not text")
    values = column.to_pylist()
    if not nullable and None in values:
        raise ValueError(f"{path}: column {name} is empty in row {values.index(None) + 1}")
    return [_text(value) for value in values]


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
            pq.write_table(table, temporary, compression="zstd")
        elif path.suffix == ".jsonl":
            lines = (json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in table.to_pylist())
            temporary.write_text("".join(lines), encoding="utf-8")
        else:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                rows = ([_cell(value) for value in row.values()] for row in table.to_pylist())
                write_csv(file, table.column_names, rows, raw, line_end="\r\n")


def _check_format(path: Path) -> None:
    if path.suffix not in FORMATS:
        raise ValueError(f"{path} does not end in {', '.join(FORMATS)}")


def _decode(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path} is not UTF-8: byte 0x{content[error.start]:02x} in line {line}; convert it first") from error


def _parse_jsonl(path: Path, text: str) -> pa.Table:
    rows: list[dict[str, Any]] = []
    # Only \n ends a line: JSON text may hold the other separators that splitlines knows.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            json.dumps(row, ensure_ascii=False).encode()
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}: line {number} is not JSON: {error.msg}") from error
        except (RecursionError, UnicodeEncodeError) as error:
            raise ValueError(f"{path}: line {number} cannot be read: {first_line(error)}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}: line {number} holds {type(row).__name__}, not an object")
        rows.append(row)
    if not rows:
        raise ValueError(f"{path} has no rows")
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {}
    for name in names:
        try:
            columns[name] = pa.array([row.get(name) for row in rows])
        except (pa.ArrowException, OverflowError):
            # Texts beside numbers, or numbers of more than 64 bits: as text, so that no row is lost.
            columns[name] = pa.array([_json_text(row.get(name)) for row in rows], pa.string())
    return pa.table(columns)


def _parse_csv(path: Path, text: str) -> pa.Table:
    # Answers may be long; the module's default of 128 KiB a cell is not.
    csv.field_size_limit(1 << 30)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num} is not CSV: {error}") from error
    if not rows:
        raise ValueError(f"{path} has no rows")
    header, body = rows[0], rows[1:]
    if len(set(header)) < len(header):
        raise ValueError(f"{path}: column names repeat in {', '.join(header)}")
    for number, row in enumerate(body, start=1):
        if len(row) != len(header):
            raise ValueError(f"{path}: row {number} has {len(row)} cells, the header {len(header)}")
    return pa.table({name: pa.array([row[i] or None for row in body], pa.string()) for i, name in enumerate(header)})


def _json_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, bool):
        return str(value).lower()
    return value


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
