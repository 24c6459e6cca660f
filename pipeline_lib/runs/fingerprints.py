"""What a stage's result depends on, as a digest: equal fingerprints mean that the stored result can be used again.

Settings that only say how fast or where something runs (`ChangesNoResult`: threads, memory, launcher) are left out.
"""

import hashlib
from pathlib import Path

from pipeline_lib.config import PromptSource, RunConfig, digest
from pipeline_lib.prompts.local_copies import resolve_source


def profile_fingerprint(config: RunConfig, base_digest: str) -> str:
    """Of the profile stage: base model, prompts, sampling, seed; or the file that the rollouts come from."""
    imported = _content(Path(config.profile.rollouts_file).expanduser()) if config.profile.rollouts_file else []
    profile = config.profile.model_dump(exclude={"rollouts_file"})
    return digest(["profile", base_digest, _source(config.prompts), profile, imported, _engine(config)])


def filter_fingerprint(config: RunConfig, base_digest: str) -> str:
    """Of the filter stage: the profile, the rule, and what training must stay clear of."""
    from pipeline_lib.selection.training_prompts import contaminating_sources

    rule = config.filter.model_dump(mode="json", exclude={"cleaning": {"benchmarks"}})
    clear_of = [_source(source) for source in contaminating_sources(config)]
    return digest(["filter", profile_fingerprint(config, base_digest), rule, config.generation.max_prompt_tokens, clear_of])


def train_fingerprint(config: RunConfig, base_digest: str, selection_digest: str) -> str:
    """Of the train stage: the selected prompts, the reward and every setting that changes a weight or a metric.

    The selection counts by its result, so that one more benchmark to stay clear of means a new training only if it takes
    prompts away.
    """
    train = config.train.result_settings() | config.compute.result_settings()
    held_out = config.validation
    validation = [_source(held_out.source), held_out.num_samples, held_out.limit_tokens] if held_out else None
    watch = config.watch.model_dump() if config.watch.intervenes else None  # one that only warns changes no weight
    parts = [config.reward.model_dump(), train, config.checkpoint.model_dump(), validation, watch]
    return digest(["train", profile_fingerprint(config, base_digest), selection_digest, parts])


def evaluate_fingerprint(config: RunConfig, weights_digest: str, benchmark: PromptSource) -> str:
    """Of one model on one benchmark."""
    evaluate = config.evaluate.model_dump(mode="json", exclude={"benchmarks", "checkpoints"})
    return digest(["evaluate", weights_digest, _source(benchmark), evaluate, _engine(config)])


def _source(source: PromptSource) -> list[object]:
    """A source by its settings and, for local files, their content: where they lie does not matter."""
    resolved = resolve_source(source)
    settings = resolved.model_dump(mode="json", exclude={"licence", "local", "num_problems"})
    if resolved.kind != "file" or not resolved.path:
        return [settings]
    return [{**settings, "path": None}, *_content(Path(resolved.path))]


def _content(path: Path) -> list[str]:
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return [file_digest(file) for file in files if file.exists()]


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's content. Raises ValueError when it is not there."""
    if not path.is_file():
        raise ValueError(f"no file at {path}")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _engine(config: RunConfig) -> list[object]:
    return [config.generation.engine, config.generation.dtype, config.seed]
