"""Which configuration files there are to choose from: those that ship, and the user's own in LACONIC_HOME/configs."""

from pathlib import Path

from pipeline_lib.config.loading import read_run
from pipeline_lib.files.home import laconic_home

PROJECT = Path(__file__).resolve().parents[2]


def shipped_configs() -> list[str]:
    """Paths of the run configurations that ship, relative to the project."""
    return [str(path.relative_to(PROJECT)) for path in sorted((PROJECT / "configs").glob("*.toml")) if _is_run(path)]


def config_choices(with_section: str | None = None) -> list[str]:
    """Paths of run configurations, shipped ones relative to the project; `with_section` keeps those that have this section."""
    own = [str(path) for path in sorted((laconic_home() / "configs").glob("*.toml")) if _is_run(path)]
    return [path for path in [*shipped_configs(), *own] if with_section is None or with_section in _tree(PROJECT / path)]


def _is_run(path: Path) -> bool:
    return {"name", "base_model", "prompts"} <= _tree(path).keys()


def _tree(path: Path) -> dict[str, object]:
    """The file's content; nothing for one that cannot be read: a form must not fail because of it."""
    try:
        return read_run(path)
    except (OSError, ValueError):
        return {}
