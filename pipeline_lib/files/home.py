"""LACONIC_HOME and the paths below it: the one place where a name becomes part of a path, so that none leads out of its folder."""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

# Of the 255 bytes that file systems take; the rest is for the endings of temporary names.
LONGEST_PART_BYTES = 200
_PLAIN_KEY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LONGEST_KEY = 100


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's content. Raises ValueError when it is not there."""
    if not path.is_file():
        raise ValueError(f"no file at {path}")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def laconic_home() -> Path:
    """The folder that holds everything a user's runs leave: `LACONIC_HOME`, by default `./artifacts`, absolute."""
    return Path(os.environ.get("LACONIC_HOME", "artifacts")).expanduser().resolve()


def below(folder: Path, *parts: str) -> Path:
    """The path of `parts` below `folder`: each names one folder or file. Raises ValueError for one that does not.

    Links that lie in a home are followed: whoever can put one there can write there anyway, and it is how checkpoints/ is moved
    to a larger disk.
    """
    for part in parts:
        plain = part.isprintable() and "/" not in part and not part.startswith(".")
        if not part or not plain or len(part.encode()) > LONGEST_PART_BYTES:
            shown = part if len(part) <= LONGEST_PART_BYTES else f"{part[:LONGEST_PART_BYTES]}..."
            raise ValueError(
                f"{shown!r} cannot name a file or folder below {folder}: allowed are 1 to {LONGEST_PART_BYTES} bytes of printable "
                "text without '/', the first no '.'"
            )
    return folder.joinpath(*parts)


def plain_key(name: str) -> str:
    """The name as lower-case letters, digits and single dashes; with a digest where that changes it, so that no two are one."""
    if _PLAIN_KEY.fullmatch(name) and len(name) <= _LONGEST_KEY:
        return name
    readable = re.sub(r"[^a-z0-9]+", "-", name.lower())[:_LONGEST_KEY].strip("-")
    return f"{readable}-{digest(name)[:8]}".lstrip("-")
