"""Files and folders that others read: they find the old one or the whole new one, whatever ends the process that writes."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Endings of names, after a leading dot, of what is being written or deleted.
UNFINISHED = (".tmp", ".partial", ".removed")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write the file or folder that becomes `path` at the end of the block; nothing is left of it when the block raises.

    A folder takes no other's place: whoever wants that removes the old one at the end of the block.
    """
    # Its name ends in none of those that are looked for, such as *.parquet.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    _remove(temporary)  # of a killed process with the same number
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename in (None, str(temporary)):  # Arrow's name no file, and a temporary name says little
            error.filename = str(path)
        raise
    finally:
        _remove(temporary)


def write_whole(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def flush(path: Path) -> None:
    """See a file, or the names in a folder, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process was writing or deleting below a folder; right only while nobody else works on that."""
    for path in [path for path in folder.rglob(".*") if path.name.endswith(UNFINISHED)]:
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
