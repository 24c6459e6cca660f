"""What a worker process can be asked to do, as files: jobs in, progress and results out. Imports neither torch nor an engine.

A job is `<n>.json` in the worker's folder; `<n>.progress.json` and `<n>.result.json` answer it. Files work across processes,
ranks and crashes, and can be read by a person.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pipeline_lib.config import NonNegativeInt, PositiveFloat, PositiveInt, PromptSource, RunConfig, Section, stored_config
from pipeline_lib.records import Prompt
from pipeline_lib.whole_files import write_whole


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
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_job(path: Path) -> Job:
    """Take over a job from a task."""
    tree = read_json(path)
    return stored_config(tree, JOB_KINDS[tree["kind"]])


def write_prompts(path: Path, prompts: Sequence[Prompt]) -> None:
    """Hand prompts to a worker."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, [asdict(prompt) for prompt in prompts])


def read_prompts(path: Path) -> list[Prompt]:
    """Take over prompts from a task."""
    return [Prompt(**row) for row in read_json(path)]
