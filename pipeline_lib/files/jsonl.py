"""JSON lines as Arrow columns that hold each value as it is written: no integer rounded, no text taken for a date."""

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

# The type of a column whose cells are JSON texts, of whatever kinds of values.
JSON = pa.json_(pa.string())
_ROWS_AT_ONCE = 10_000
_BYTES_AT_ONCE = 32 << 20
# Of so many characters every integer is a 64-bit integer, and every decimal number without exponent a 64-bit float's shortest.
_SAFE_CHARACTERS = 16


def read_json(text: str) -> Any:
    """The value of a JSON text; a number that is exactly no 64-bit integer or float stays the text that it is written as.

    NaN and Infinity, which JSON does not have but is written with, are floats. Raises ValueError, RecursionError.
    """
    return _DECODER.decode(text)


def read_jsonl(path: Path) -> pa.Table:
    """The table of a JSONL file; a row that lacks a name has NULL there.

    Raises ValueError naming the line at fault, or UnicodeDecodeError.
    """
    counts: list[int] = []
    columns: dict[str, dict[int, pa.Array]] = {}
    for number, rows in enumerate(_batches(path)):
        counts.append(len(rows))
        for name in dict.fromkeys(name for row in rows for name in row):
            columns.setdefault(name, {})[number] = to_array([row.get(name) for row in rows])
    return pa.table({name: _joined(parts, counts) for name, parts in columns.items()})


def to_array(values: Sequence[Any]) -> pa.Array:
    """Values as an array of the type that holds each of them exactly, or of JSON texts."""
    try:
        array = pa.array(values)
        # Objects of different keys are given each other's; an object of none is no type of Parquet.
        if "struct" not in str(array.type) or (
            "struct<>" not in str(array.type) and repr(array.to_pylist()) == repr(list(values))
        ):
            return array
    except (pa.ArrowException, OverflowError):
        pass
    texts = [None if value is None else json.dumps(value, ensure_ascii=False, default=str) for value in values]
    return pa.ExtensionArray.from_storage(JSON, pa.array(texts, pa.string()))


def _joined(parts: dict[int, pa.Array], counts: Sequence[int]) -> pa.ChunkedArray:
    """The arrays of a column by the number of their batch, NULL in batches that lack it, as chunks of one type."""
    kinds = {str(array.type): array.type for array in parts.values() if array.type != pa.null()}
    kind = next(iter(kinds.values())) if len(kinds) == 1 else JSON if kinds else pa.null()
    chunks = []
    for number, count in enumerate(counts):
        array = parts.get(number, pa.nulls(count))
        if array.type == pa.null():
            array = pa.nulls(count, kind)
        elif array.type != kind:
            texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in array.to_pylist()]
            array = pa.ExtensionArray.from_storage(JSON, pa.array(texts, pa.string()))
        chunks.append(array)
    return pa.chunked_array(chunks, kind)


def _batches(path: Path) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    size = 0
    with path.open("rb") as file:
        # Only \n ends a line: JSON text may hold the other separators that splitlines knows.
        for number, line in enumerate(file, start=1):
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if text.isspace() or not text:
                continue
            rows.append(_row(text, number, path))
            size += len(line)
            if len(rows) == _ROWS_AT_ONCE or size > _BYTES_AT_ONCE:
                yield rows
                rows, size = [], 0
    if rows:
        yield rows


def _row(text: str, number: int, path: Path) -> dict[str, Any]:
    try:
        row = read_json(text.strip(" \t\r\n"))
        # What cannot be encoded came as the escape of half a character.
        if "\\ud" in text or "\\uD" in text:
            json.dumps(row, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: line {number} is not JSON: {error.msg}") from error
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{path}: line {number} cannot be read: {first_line(error)}") from error
    if not isinstance(row, dict):
        raise ValueError(f"{path}: line {number} holds {type(row).__name__}, not an object")
    return row


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _integer(text: str) -> int | str:
    if len(text) <= _SAFE_CHARACTERS or (len(text) <= 20 and -(2**63) <= int(text) < 2**63):
        return int(text)
    return text


def _float(text: str) -> float | str:
    value = float(text)
    is_short = len(text) <= _SAFE_CHARACTERS and "e" not in text.lower()
    return value if is_short or Decimal(repr(value)) == Decimal(text) else text


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {max(names, key=names.count)!r} stands twice")
    return found


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_float, object_pairs_hook=_object)
