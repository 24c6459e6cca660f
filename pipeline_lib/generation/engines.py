"""Chooses the engine that the configuration names."""

from pipeline_lib.config import GenerationConfig
from pipeline_lib.generation.protocol import Generator


def make_generator(
    model: str, config: GenerationConfig, max_model_tokens: int, revision: str | None = None, world_size: int = 1
) -> Generator:
    """Start the engine for a model folder or hub id; `max_model_tokens` bounds prompt plus response."""
    if config.engine == "vllm":
        from pipeline_lib.generation.vllm_engine import VllmGenerator

        return VllmGenerator(model, config, max_model_tokens, revision, world_size)
    from pipeline_lib.generation.transformers_engine import TransformersGenerator

    return TransformersGenerator(model, config, revision)
