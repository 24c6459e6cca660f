"""What a stage's result depends on, as a digest: equal fingerprints mean that the stored result can be used again.

Settings that only say how fast or where something runs (threads, memory, launcher) are left out.
"""

import hashlib
from pathlib import Path

from pipeline_lib.config import OPERATION, PromptSource, RunConfig, digest


def profile_fingerprint(config: RunConfig, base_digest: str) -> str:
    """Of the profile stage: base model, prompts, sampling, seed."""
    return digest(["profile", base_digest, _source(config.prompts), config.profile.model_dump(), _engine(config)])


def filter_fingerprint(config: RunConfig, base_digest: str) -> str:
    """Of the filter stage: the profile and the rule."""
    return digest(["filter", profile_fingerprint(config, base_digest), config.filter.model_dump()])


def train_fingerprint(config: RunConfig, base_digest: str) -> str:
    """Of the train stage: the selection, the reward and every setting that changes a weight or a metric."""
    train = config.train.model_dump(mode="json", exclude=OPERATION["train"])
    validation = [_source(config.validation.source), config.validation.num_samples] if config.validation else None
    parts = [config.reward.model_dump(), train, config.checkpoint.model_dump(), validation]
    return digest(["train", filter_fingerprint(config, base_digest), parts])


def evaluate_fingerprint(config: RunConfig, weights_digest: str, benchmark: PromptSource) -> str:
    """Of one model on one benchmark."""
    evaluate = config.evaluate.model_dump(mode="json", exclude={"benchmarks"})
    return digest(["evaluate", weights_digest, _source(benchmark), evaluate, _engine(config)])


def _source(source: PromptSource) -> list[object]:
    """A source by its settings and, for local files, their content."""
    settings: list[object] = [source.model_dump(mode="json")]
    if source.kind == "file" and source.path:
        path = Path(source.path).expanduser()
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        settings += [hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.exists()]
    return settings


def _engine(config: RunConfig) -> list[object]:
    return [config.generation.engine, config.generation.dtype, config.seed]
