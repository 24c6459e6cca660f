"""Where the base model lies, what it is called in the store, and a digest that changes when its weights do."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.config import RunConfig, TrackingConfig, digest, laconic_home
from pipeline_lib.tiny_world import BASE_FOLDER, BUILTIN_TINY

# What a model in a registry may be called to be reached from here: the name goes into filters and into paths of the home.
MODEL_NAME = r"\w[\w .-]*"
# A version of a model in the MLflow registry, by number or by alias.
REGISTERED = re.compile(rf"models:/(?P<name>{MODEL_NAME})(?:/(?P<version>[1-9]\d*)|@(?P<alias>[\w.-]+))")
WEIGHT_PATTERNS = ("*.safetensors", "*.bin", "*.json", "*.jinja")
NOT_OF_THE_MODEL = ("warmup.json",)


@dataclass(frozen=True, slots=True)
class BaseModel:
    """`location` is a folder or a hub id, as transformers and vLLM take it; `label` is its name in the store."""

    location: str
    label: str
    digest: str


def resolve_base_model(config: RunConfig) -> BaseModel:
    """Find the base model of a run. Raises ValueError when a path is given and no model folder is there, or no such version.

    A registered model lies where MLflow keeps it, or is copied into the home once.
    """
    location, label = locate_base_model(config)
    is_of_hub = location == label  # a folder's location is its whole path
    return BaseModel(location, label, digest([label, config.model_revision]) if is_of_hub else _folder_digest(Path(location)))


def locate_base_model(config: RunConfig) -> tuple[str, str]:
    """Location and label of `resolve_base_model`: what a digest of all weights is not needed for."""
    name = config.base_model
    if name.startswith("models:"):
        from pipeline_lib.tracking import Registry

        label = pin_version(name, config.tracking)
        parts = _registered(label)
        return str(Registry(config.tracking, laconic_home()).folder(parts["name"], int(parts["version"]))), label
    if name == BUILTIN_TINY:
        return str(BASE_FOLDER), name
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return str(folder.resolve()), folder.resolve().name
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise ValueError(
            f"base_model = {name!r} is neither a model folder (no config.json there), a hub id, models:/NAME/VERSION, "
            f"nor '{BUILTIN_TINY}'"
        )
    return name, name


def pin_version(base_model: str, tracking: TrackingConfig) -> str:
    """`models:/NAME@ALIAS` as the version that the alias stands for now; anything else as it is.

    A run's id must not depend on where an alias points later.
    """
    if not base_model.startswith("models:") or (parts := _registered(base_model))["version"]:
        return base_model
    from pipeline_lib.tracking import Registry

    return f"models:/{parts['name']}/{Registry(tracking, laconic_home()).version_of(parts['name'], parts['alias'])}"


def pinned(config: RunConfig) -> RunConfig:
    """The configuration with a definite base model (`pin_version`)."""
    return config.model_copy(update={"base_model": pin_version(config.base_model, config.tracking)})


def check_model_name(name: str) -> None:
    """Raises ValueError for what no model in the registry can be called."""
    if not re.fullmatch(MODEL_NAME, name):
        raise ValueError(
            f"model = {name!r} is no name of a registered model: letters, digits and ' ._-', the first a letter or digit"
        )


def _registered(base_model: str) -> dict[str, str]:
    matched = REGISTERED.fullmatch(base_model)
    if matched is None:
        raise ValueError(
            f"base_model = {base_model!r} is neither models:/NAME/VERSION nor models:/NAME@ALIAS, NAME of letters, digits, ' ._-'"
        )
    return matched.groupdict()


def _folder_digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(
        path for pattern in WEIGHT_PATTERNS for path in folder.glob(pattern) if path.name not in NOT_OF_THE_MODEL
    ):
        whole.update(path.name.encode())
        with open(path, "rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
