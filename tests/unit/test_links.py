"""Pages, pictures and modules that README and the documentation name are there."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
of_every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))


@of_every_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


@of_every_page
def test_every_file_and_module_that_is_named_is_there(page: Path) -> None:
    """But for those that a page has its reader write."""
    text = page.read_text(encoding="utf-8")
    written = {path.removesuffix(".py") for path in re.findall(r"cat > (\S+)", text)}
    paths = set(re.findall(r"\b(?:flows|tasks|pipeline_lib|tests)/[\w./-]*\w", text))
    modules = {name.replace(".", "/") for name in re.findall(r"\b(?:flows|tasks|pipeline_lib)\.[a-z_.]*[a-z_]", text)}
    absent = [path for path in paths if path.removesuffix(".py") not in written and not (REPOSITORY / path).exists()]
    assert absent + [module for module in modules - written if not is_module_or_its_name(module)] == []


def is_module_or_its_name(path: str) -> bool:
    """Whether a dotted name, as a path, is a package, a module, or something in a module."""
    place = REPOSITORY / path
    return place.is_dir() or place.with_suffix(".py").exists() or place.parent.with_suffix(".py").exists()
