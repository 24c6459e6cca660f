"""Chooses the engine that the configuration names."""

from pipeline_lib.config import GenerationConfig
from pipeline_lib.generation.protocol import EngineRanks, Generator


def make_generator(
    model: str,
    config: GenerationConfig,
    max_model_tokens: int,
    revision: str | None = None,
    world_size: int = 1,
    ranks: EngineRanks | None = None,
    is_apart: bool = False,
) -> Generator:
    """Start the engine for a model folder or hub id; `max_model_tokens` bounds prompt plus response.

    `ranks` are those that share an engine where generation.tensor_parallel is above 1; vLLM `is_apart` from the trainer is a `Receiver`.
    """
    if config.engine == "transformers":
        from pipeline_lib.generation.transformers_engine import TransformersGenerator

        return TransformersGenerator(model, config, revision)
    from pipeline_lib.generation.vllm_engine import VllmGenerator

    engine = VllmGenerator(model, config, max_model_tokens, revision, world_size, ranks, is_apart)
    if ranks is None:
        return engine
    from pipeline_lib.generation.shared_engine import SharedGenerator

    return SharedGenerator(engine, ranks)
