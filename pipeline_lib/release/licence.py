"""The licence of a base model, as its own card and files tell it; nobody's is guessed."""

from pathlib import Path
from typing import Any

from pipeline_lib.runs.base_model import BaseModel

LARGEST_BYTES = 1 << 20
HUB_SECONDS = 5.0
LICENCE_FILES = ("LICENSE*", "LICENCE*", "NOTICE*")
# Of a card's metadata.
KEYS = ("license", "license_name", "license_link")


def licence_metadata(base: BaseModel | None) -> dict[str, str]:
    """`license`, and where it is one of its own `license_name` and `license_link`; empty where nobody says."""
    try:
        found = _card_data(base.location) if base else {}
    except Exception:  # no network, no such model, or what somebody's YAML does to a library: then nobody says
        found = {}
    return {key: value for key in KEYS if isinstance(value := found.get(key), str) and 0 < len(value) <= 200}


def _card_data(location: str) -> dict[str, Any]:
    """The metadata of a base's card: in its folder, in the hub's cache, else asked of the hub once."""
    from huggingface_hub import ModelCard, model_info, try_to_load_from_cache

    path = Path(location) / "README.md"
    if not Path(location).is_dir():
        cached = try_to_load_from_cache(location, "README.md")
        if not isinstance(cached, str):
            data = model_info(location, timeout=HUB_SECONDS).card_data
            return vars(data) if data else {}
        path = Path(cached)
    elif path.is_symlink():
        return {}
    if path.stat().st_size > LARGEST_BYTES:
        return {}
    return vars(ModelCard(path.read_text(encoding="utf-8", errors="replace"), ignore_metadata_errors=True).data)


def licence_files(folder: Path) -> list[Path]:
    """The licence's texts in a base's folder, which go with the weights; no link is followed."""
    found = [path for pattern in LICENCE_FILES for path in sorted(folder.glob(pattern))] if folder.is_dir() else []
    return [path for path in found if path.is_file() and not path.is_symlink() and path.stat().st_size <= LARGEST_BYTES]
