"""Which configuration files there are to choose from: those that ship, and the user's own in LACONIC_HOME/configs."""

import tomllib
from pathlib import Path

from pipeline_lib.files.home import laconic_home

PROJECT = Path(__file__).resolve().parents[2]


def config_choices(with_section: str | None = None) -> list[str]:
    """Paths of run configurations, shipped ones relative to the project; `with_section` keeps those that have this section."""
    shipped = sorted((PROJECT / "configs").glob("*.toml"))
    own = sorted((laconic_home() / "configs").glob("*.toml"))
    return [
        str(path.relative_to(PROJECT) if path in shipped else path)
        for path in [*shipped, *own]
        if _is_run(path) and (with_section is None or with_section in _tree(path))
    ]


def _is_run(path: Path) -> bool:
    return {"name", "base_model", "prompts", "train"} <= _tree(path).keys()


def _tree(path: Path) -> dict[str, object]:
    """The file's content; nothing for one that cannot be read: a form must not fail because of it."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}
