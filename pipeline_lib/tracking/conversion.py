"""Plain values in the form MLflow takes: metrics, parameters, tags, and the digest that names a model folder's contents."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from pipeline_lib.files.home import file_digest
from pipeline_lib.messages.addresses import without_password
from pipeline_lib.messages.harmless import visible

# MLflow refuses longer parameter values.
PARAM_VALUE_LENGTH = 6000


def numeric_metrics(row: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The finite numbers of a row under names MLflow allows."""
    return [
        (re.sub(r"[^\w\-. /]", "_", key), float(value))
        for key, value in row.items()
        if isinstance(value, Real) and math.isfinite(value)
    ]


def flatten_params(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A nested configuration as MLflow parameters: `train.steps` → '40'; lists as JSON, over-long values cut, None left out."""
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten_params(value, f"{prefix}{key}.")
        elif value is not None:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            flat[f"{prefix}{key}"] = _shown(text)[:PARAM_VALUE_LENGTH]
    return flat


def folder_digest(folder: Path, inner: Mapping[str, Path] | None = None) -> str:
    """SHA-256 (hex) of the names and contents of all files below a folder, and of `inner` folders as if they lay in it."""
    folders = {Path(): folder, **{Path(name): path for name, path in (inner or {}).items()}}
    files = {at / path.relative_to(top): path for at, top in folders.items() for path in top.rglob("*") if path.is_file()}
    total = hashlib.sha256()
    for name, path in sorted(files.items()):
        total.update(f"{name.as_posix()}\0{file_digest(path)}\n".encode())
    return total.hexdigest()


def as_tags(values: Mapping[str, Any]) -> dict[str, str]:
    """Values as text, None left out."""
    return {key: _shown(str(value)) for key, value in values.items() if value is not None}


def _shown(text: str) -> str:
    return visible(without_password(text))


def first_line(error: Exception) -> str:
    """What an error says, in one line of at most 200 characters without passwords; its type where it says nothing."""
    return without_password((str(error).splitlines() or [type(error).__name__])[0])[:200]
