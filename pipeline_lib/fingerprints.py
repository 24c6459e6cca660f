"""What a stage's result depends on, as a digest: equal fingerprints mean that the stored result can be used again.

Settings that only say how fast or where something runs (threads, memory, launcher) are left out.
"""

from pipeline_lib.config import PromptSource, RunConfig, digest

_TRAIN_OPERATION = {"num_threads", "launcher", "micro_batch_tokens"}


def profile_fingerprint(config: RunConfig, base_digest: str) -> str:
    """Of the profile stage: base model, prompts, sampling, seed."""
    return digest(
        ["profile", base_digest, config.prompts.model_dump(mode="json"), config.profile.model_dump(), _engine(config)]
    )


def filter_fingerprint(config: RunConfig, base_digest: str) -> str:
    """Of the filter stage: the profile and the rule."""
    return digest(["filter", profile_fingerprint(config, base_digest), config.filter.model_dump()])


def train_fingerprint(config: RunConfig, base_digest: str) -> str:
    """Of the train stage: the selection, the reward and every setting that changes a weight or a metric."""
    train = config.train.model_dump(mode="json", exclude=_TRAIN_OPERATION)
    validation = config.validation.model_dump(mode="json") if config.validation else None
    parts = [config.reward.model_dump(), train, config.checkpoint.model_dump(), validation]
    return digest(["train", filter_fingerprint(config, base_digest), parts])


def evaluate_fingerprint(config: RunConfig, weights_digest: str, benchmark: PromptSource) -> str:
    """Of one model on one benchmark."""
    evaluate = config.evaluate.model_dump(mode="json", exclude={"benchmarks"})
    return digest(["evaluate", weights_digest, benchmark.model_dump(mode="json"), evaluate, _engine(config)])


def trained_digest(config: RunConfig, base_digest: str, step: int) -> str:
    """Stands for the weights after a step: training is a function of its inputs."""
    return base_digest if step == 0 else digest([train_fingerprint(config, base_digest), step])


def _engine(config: RunConfig) -> list[object]:
    return [config.generation.engine, config.generation.dtype, config.seed]
