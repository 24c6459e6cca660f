"""Where the base model lies, what it is called in the store, and a digest that changes when its weights do."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.config import RunConfig, digest
from pipeline_lib.tiny_world import BASE_FOLDER

BUILTIN_TINY = "builtin:tiny"
WEIGHT_PATTERNS = ("*.safetensors", "*.bin", "*.json", "*.jinja")
NOT_OF_THE_MODEL = ("warmup.json",)


@dataclass(frozen=True, slots=True)
class BaseModel:
    """`location` is a folder or a hub id, as transformers and vLLM take it; `label` is its name in the store."""

    location: str
    label: str
    digest: str


def resolve_base_model(config: RunConfig) -> BaseModel:
    """Find the base model of a run. Raises ValueError when a path is given and no model folder is there."""
    name = config.base_model
    if name == BUILTIN_TINY:
        return BaseModel(str(BASE_FOLDER), name, _folder_digest(BASE_FOLDER))
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return BaseModel(str(folder.resolve()), folder.resolve().name, _folder_digest(folder))
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise ValueError(
            f"base_model = {name!r} is neither a model folder (no config.json there), a hub id, nor '{BUILTIN_TINY}'"
        )
    return BaseModel(name, name, digest([name, config.model_revision]))


def _folder_digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(
        path for pattern in WEIGHT_PATTERNS for path in folder.glob(pattern) if path.name not in NOT_OF_THE_MODEL
    ):
        whole.update(path.name.encode())
        with open(path, "rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
