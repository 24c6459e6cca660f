"""What a worker process can be asked to do, as files: jobs in, progress and results out. Imports neither torch nor an engine.

A job is `<n>.json` in the worker's folder; `<n>.progress.json` and `<n>.result.json` answer it, or `failure-<rank>.json` of
whichever rank fails. Files work across processes, ranks and crashes, and can be read by a person.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pipeline_lib.config import PromptSource, RunConfig, stored_config
from pipeline_lib.files.whole_files import write_whole
from pipeline_lib.records import Prompt
from pipeline_lib.section import NonNegativeInt, PositiveFloat, PositiveInt, Section

FAILURE_BYTES = 1 << 16


class GenerateUnit(Section):
    """Samples of one model on the prompts of one source, written as judged rollouts in Parquet shards."""

    run_id: str
    stage: Literal["profile", "evaluate"]
    step: NonNegativeInt
    model: str
    weights: str | None = None  # model folder; None: the base model that the worker was started with
    source: PromptSource
    prompts_file: str
    num_samples: PositiveInt
    limit_tokens: PositiveInt
    temperature: PositiveFloat
    top_p: float
    seed: int
    shard_prefix: (
        str  # names the shards; holds a digest of the inputs, so that shards of other inputs are never taken for these
    )
    output_folder: str


class GenerateJob(Section):
    """Units generated one after another on one engine, whose weights are replaced in between."""

    kind: Literal["generate"] = "generate"
    units: tuple[GenerateUnit, ...]


class TrainJob(Section):
    """A whole training run, resumed from the checkpoint of `resume_step`; 0 is the beginning."""

    kind: Literal["train"] = "train"
    run_id: str
    config: RunConfig
    base_folder: str
    prompts_file: str
    validation_file: str | None = None
    rollouts_folder: str
    steps_folder: str
    checkpoints_folder: str
    resume_step: NonNegativeInt = 0


Job = GenerateJob | TrainJob
JOB_KINDS: dict[str, type[GenerateJob] | type[TrainJob]] = {"generate": GenerateJob, "train": TrainJob}


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader finds the old file or the new one, never a part."""
    write_whole(path, json.dumps(value))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_job(path: Path) -> Job:
    tree = read_json(path)
    return stored_config(tree, JOB_KINDS[tree["kind"]])


def failure_file(folder: Path, rank: int) -> Path:
    """Where a rank notes why it ends."""
    return folder / f"failure-{rank}.json"


def reserve_failure(folder: Path, rank: int) -> None:
    """Take the room for that beforehand: on a full disk nothing else could be said."""
    failure_file(folder, rank).write_bytes(b" " * FAILURE_BYTES)


def write_failure(folder: Path, rank: int, line: str, details: str, repeats: bool = True) -> None:
    """Note why a rank ends, in place, and whether another would by the same; `details` (a traceback) are cut to what fits."""
    room = FAILURE_BYTES // 2  # JSON writes some characters as several
    content = json.dumps({"line": line[: room // 4], "details": details[-room // 4 :], "repeats": repeats}).encode()
    with open(failure_file(folder, rank), "r+b", buffering=0) as file:
        file.write(content.ljust(FAILURE_BYTES)[:FAILURE_BYTES])


def read_failure(folder: Path) -> dict[str, Any] | None:
    """Why a rank ended, that of the first to say so; None when none has."""
    written = []
    for path in folder.glob("failure-*.json"):
        try:
            written.append((path.stat().st_mtime_ns, read_json(path)))
        except ValueError:  # still blank
            continue
    return min(written, key=lambda each: each[0])[1] if written else None


def write_prompts(path: Path, prompts: Sequence[Prompt]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, [asdict(prompt) for prompt in prompts])


def read_prompts(path: Path) -> list[Prompt]:
    return [Prompt(**row) for row in read_json(path)]
