"""Which carrier a source is read from: the hub, or the local copy that LACONIC_DATA holds."""

import os
from pathlib import Path

from pipeline_lib.config import PromptSource
from pipeline_lib.files.home import file_digest
from pipeline_lib.grading.functions import function_digest, gym_version

DATA_FOLDER_VARIABLE = "LACONIC_DATA"


def data_folder() -> Path | None:
    """The folder with local copies of data sets, as `LACONIC_DATA` names it; None when it is not set."""
    folder = os.environ.get(DATA_FOLDER_VARIABLE)
    return Path(folder).expanduser() if folder else None


def resolve_source(source: PromptSource) -> PromptSource:
    """The source as it is read here: of kind "file", with the local copy's columns, where there is a local copy.

    A path of kind "file" that does not exist as given is looked up below LACONIC_DATA.
    """
    folder = data_folder()
    if source.kind == "file" and source.path:
        path = Path(source.path).expanduser()
        if not path.exists() and folder and (folder / source.path).exists():
            path = folder / source.path
        return source.model_copy(update={"path": str(path)})
    if source.kind != "hub" or source.local is None or folder is None or not (folder / source.local.file).exists():
        return source
    columns = source.local.model_dump(exclude={"file"})
    return source.model_copy(update={"kind": "file", "path": str(folder / source.local.file), **columns})


def source_identity(source: PromptSource) -> list[object]:
    """What a source's prompts and verdicts depend on: its settings, the file of its grader's function, Reasoning Gym's version and,
    for local files, their content; where they lie does not matter."""
    resolved = resolve_source(source)
    settings = resolved.result_settings({"licence", "local", "num_problems"})
    if source.function:
        settings["function_digest"] = function_digest(source.function)
    if source.kind == "gym":
        settings["gym_version"] = gym_version()
    if resolved.kind != "file" or not resolved.path:
        return [settings]
    return [{**settings, "path": None}, *content_digests(Path(resolved.path))]


def content_digests(path: Path) -> list[str]:
    """Digests of a file, or of all files below a folder; empty when there is none."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return [file_digest(file) for file in files if file.exists()]
