"""Rows of prompt sources: local files, read as all tables are (`files.tables`), and datasets on the hub, through `datasets`."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.config import PromptSource
from pipeline_lib.files.jsonl import first_line
from pipeline_lib.files.tables import FORMATS, read_table, table_rows
from pipeline_lib.prompts.local_copies import DATA_FOLDER_VARIABLE

HUB_BUILDERS = {".parquet": "parquet", ".jsonl": "json"}
ROWS_AT_ONCE = 1000


def read_rows(source: PromptSource) -> Iterator[dict[str, Any]]:
    """All rows of a source of kind "file" or "hub", in order. Raises ValueError naming the path or data set at fault."""
    return _read_files(source) if source.kind == "file" else _read_hub(source)


def _read_files(source: PromptSource) -> Iterator[dict[str, Any]]:
    assert source.path is not None, "the configuration requires path for kind = 'file'"
    for file in _find_files(Path(source.path).expanduser(), source):
        try:
            table = read_table(file)
        except ValueError as error:
            raise ValueError(f"prompt source {source.name!r}: {error}") from error
        yield from table_rows(table)


def _read_hub(source: PromptSource) -> Iterator[dict[str, Any]]:
    from datasets import load_dataset

    # Its retries are told by the one line below.
    logging.getLogger("huggingface_hub.utils._http").setLevel(logging.ERROR)
    what = f"dataset {source.path!r} (subset {source.subset!r}, revision {source.revision!r}, split {source.split!r})"
    try:
        if source.data_files:
            # The plain files of a repository whose own loading script `datasets` no longer runs.
            url = f"hf://datasets/{source.path}@{source.revision or 'main'}/{source.data_files}"
            builder = HUB_BUILDERS[Path(source.data_files).suffix]
            yield from _rows(load_dataset(builder, data_files=url, split="train"))
        else:
            yield from _rows(load_dataset(source.path, name=source.subset, revision=source.revision, split=source.split))
    except Exception as error:
        if not _is_network_error(error):
            raise ValueError(f"prompt source {source.name!r}: {what} cannot be loaded: {first_line(error)}") from error
        name = source.local.file if source.local else "<name>.parquet"
        raise ValueError(
            f"prompt source {source.name!r}: the hub cannot be reached for {what}: connect to the network, or put a local copy "
            f"into a folder as {name} and name the folder in {DATA_FOLDER_VARIABLE} (or set kind = 'file' and path)"
        ) from error


def _is_network_error(error: BaseException) -> bool:
    """Whether the hub was not reached, at the root of whatever `datasets` and the hub's client made of it."""
    import httpx

    link: BaseException | None = error
    while link is not None:
        if isinstance(link, ConnectionError | socket.gaierror | TimeoutError | httpx.TransportError):
            return True
        link = link.__cause__ or link.__context__
    return False


def _rows(dataset: Any) -> Iterator[dict[str, Any]]:
    halves = {"float16": np.float16, "float32": np.float32}
    short = {
        name: halves[kind.dtype] for name, kind in (dataset.features or {}).items() if getattr(kind, "dtype", None) in halves
    }
    # Row by row `datasets` takes far longer. Not as Arrow: there mixed columns are still encoded.
    for batch in dataset.iter(batch_size=ROWS_AT_ONCE):
        for name, kind in short.items():
            # The shortest decimal that the type stands for.
            batch[name] = [None if value is None else float(str(kind(value))) for value in batch[name]]
        yield from (dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True))


def _find_files(path: Path, source: PromptSource) -> list[Path]:
    allowed = ", ".join(FORMATS[:-1]) + f" or {FORMATS[-1]}"
    if path.is_file():
        if path.suffix not in FORMATS:
            raise ValueError(f"prompt source {source.name!r}: path = '{path}' is not a {allowed} file")
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix in FORMATS and file.is_file())
    if not files:
        raise ValueError(f"prompt source {source.name!r}: path = '{path}' is neither a {allowed} file nor a folder with one")
    return files
