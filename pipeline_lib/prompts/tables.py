"""Prompts from tables: local Parquet and JSONL files, and datasets on the hub, both read through `datasets`."""

import hashlib
import json
import logging
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pipeline_lib.config import PromptSource
from pipeline_lib.records import Prompt

logger = logging.getLogger(__name__)

BUILDER_BY_SUFFIX = {".parquet": "parquet", ".jsonl": "json"}


def load_file_prompts(source: PromptSource) -> list[Prompt]:
    """All prompts of a local .parquet or .jsonl file, or of every such file below a folder, in the order of the paths.

    Raises ValueError naming the path or column at fault.
    """
    assert source.path is not None, "the configuration requires path for kind = 'file'"
    return _collect_prompts(_read_files(Path(source.path).expanduser(), source), source)


def load_hub_prompts(source: PromptSource) -> list[Prompt]:
    """All prompts of one split of a dataset on the hub (network or local cache).

    Raises ValueError with the cause, and both ways out when the hub cannot be reached.
    """
    from datasets import load_dataset

    try:
        rows = load_dataset(source.path, name=source.subset, revision=source.revision, split=source.split)
    except ConnectionError as error:
        raise ValueError(
            f"prompt source {source.name!r}: the hub cannot be reached for dataset {source.path!r}: connect to the network, "
            "or download the data and set kind = 'file' with path = a local .parquet or .jsonl file or a folder of them"
        ) from error
    except Exception as error:
        raise ValueError(
            f"prompt source {source.name!r}: dataset {source.path!r} (subset {source.subset!r}, revision {source.revision!r}, "
            f"split {source.split!r}) cannot be loaded: {_first_line(error)}"
        ) from error
    return _collect_prompts(rows, source)


def _read_files(path: Path, source: PromptSource) -> Iterator[dict[str, Any]]:
    from datasets import load_dataset

    for file in _find_files(path, source):
        try:
            # Streaming reads the file in place; otherwise a second copy would land in the user's cache.
            yield from load_dataset(BUILDER_BY_SUFFIX[file.suffix], data_files=[str(file)], split="train", streaming=True)
        except Exception as error:
            raise ValueError(f"prompt source {source.name!r}: {file} cannot be read: {_first_line(error)}") from error


def _find_files(path: Path, source: PromptSource) -> list[Path]:
    allowed = " or ".join(BUILDER_BY_SUFFIX)
    if path.is_file():
        if path.suffix not in BUILDER_BY_SUFFIX:
            raise ValueError(f"prompt source {source.name!r}: path = '{path}' is not a {allowed} file")
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix in BUILDER_BY_SUFFIX and file.is_file())
    if not files:
        raise ValueError(f"prompt source {source.name!r}: path = '{path}' is neither a {allowed} file nor a folder with one")
    return files


def _collect_prompts(rows: Iterable[dict[str, Any]], source: PromptSource) -> list[Prompt]:
    """Turn rows into prompts: rows without problem or answer and repeats are left out, counted and logged."""
    prompts: dict[str, Prompt] = {}
    left_out: Counter[str] = Counter()
    for row in rows:
        prompt = _to_prompt(row, source)
        known = prompts.get(prompt.prompt_id)
        if not prompt.problem or not prompt.answer:
            left_out["without problem or answer"] += 1
        elif known is None:
            prompts[prompt.prompt_id] = prompt
        elif _normalise(known.problem) != _normalise(prompt.problem):
            raise ValueError(
                f"prompt source {source.name!r}: id_field = {source.id_field!r} gives {prompt.prompt_id!r} to two problems"
            )
        elif known.answer == prompt.answer:
            left_out["repeated"] += 1
        else:
            left_out["repeated with another answer (the first is kept)"] += 1
    for cause, count in left_out.items():
        logger.warning("prompt source %r: %d rows left out, %s", source.name, count, cause)
    return list(prompts.values())


def _to_prompt(row: dict[str, Any], source: PromptSource) -> Prompt:
    problem = _column(row, "problem_field", source)
    if problem is not None and not isinstance(problem, str):
        raise ValueError(
            f"prompt source {source.name!r}: problem_field = {source.problem_field!r} holds {type(problem).__name__}, not text"
        )
    problem = (problem or "").strip()
    answer = answer_text(_column(row, "answer_field", source))
    prompt_id = digest_problem(problem) if source.id_field is None else answer_text(_column(row, "id_field", source))
    if not prompt_id:
        raise ValueError(f"prompt source {source.name!r}: id_field = {source.id_field!r} is empty in a row")
    return Prompt(prompt_id=prompt_id, source=source.name, domain=source.domain, problem=problem, answer=answer)


def _column(row: dict[str, Any], key: str, source: PromptSource) -> Any:
    name = getattr(source, key)
    if name not in row:
        raise ValueError(f"prompt source {source.name!r}: {key} = {name!r} is not one of the columns {', '.join(row)}")
    return row[name]


def answer_text(value: Any) -> str:
    """An answer as text: the parts of a list joined by ', ', a mapping as JSON, a whole number without '.0', None empty."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(part for part in map(answer_text, value) if part)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def digest_problem(problem: str) -> str:
    """A stable id of a problem: 16 hex digits of the SHA-256 of its text, blind to white space and Unicode form."""
    return hashlib.sha256(_normalise(problem).encode()).hexdigest()[:16]


def _normalise(problem: str) -> str:
    return " ".join(unicodedata.normalize("NFC", problem).split())


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
