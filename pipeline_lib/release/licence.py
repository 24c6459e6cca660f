"""The licence of a base model, as its own card and files tell it; nobody's is guessed."""

from pathlib import Path

from pipeline_lib.runs.base_model import BaseModel

LARGEST_BYTES = 1 << 20
LICENCE_FILES = ("LICENSE*", "LICENCE*", "NOTICE*")
# Of a card's metadata.
KEYS = ("license", "license_name", "license_link")


def licence_metadata(base: BaseModel | None) -> dict[str, str]:
    """`license`, and where it is one of its own `license_name` and `license_link`; empty where nobody says."""
    from huggingface_hub import ModelCard

    card = _card(base) if base else None
    if card is None:
        return {}
    try:
        found = vars(ModelCard(card, ignore_metadata_errors=True).data)
    except Exception:  # whatever somebody's YAML does to a library: the licence is then not known
        return {}
    return {key: value for key in KEYS if isinstance(value := found.get(key), str) and 0 < len(value) <= 200}


def _card(base: BaseModel) -> str | None:
    path = Path(base.location) / "README.md"
    if not Path(base.location).is_dir():
        from huggingface_hub import hf_hub_download

        try:
            path = Path(hf_hub_download(base.location, "README.md"))  # from the cache, else from the hub
        except Exception:  # no network, no such model, no permission: then nobody says
            return None
    elif path.is_symlink():
        return None
    if not path.is_file() or path.stat().st_size > LARGEST_BYTES:
        return None
    return path.read_text(encoding="utf-8", errors="replace")


def licence_files(folder: Path) -> list[Path]:
    """The licence's texts in a base's folder, which go with the weights; no link is followed."""
    found = [path for pattern in LICENCE_FILES for path in sorted(folder.glob(pattern))] if folder.is_dir() else []
    return [path for path in found if path.is_file() and not path.is_symlink() and path.stat().st_size <= LARGEST_BYTES]
