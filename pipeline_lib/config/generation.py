"""Settings of the engine that generates."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline_lib.config.endpoint import EndpointConfig
from pipeline_lib.section import ChangesNoResult, CountsWhereGiven, Fraction, PositiveFloat, PositiveInt, Section


class GenerationConfig(Section):
    """The engine that generates rollouts."""

    engine: Literal["vllm", "transformers", "openai"] = Field(
        "vllm",
        description="vllm is the default; transformers is the portable one; openai: a model that is served elsewhere, which is "
        "profiled and evaluated, not trained (needs generation.endpoint).",
    )
    endpoint: CountsWhereGiven[EndpointConfig | None] = Field(None, description="openai only: where the model is served.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("bfloat16", description="Number format of the engine.")
    max_num_seqs: ChangesNoResult[PositiveInt] = Field(256, description="Most sequences decoded at once.")
    max_prompt_tokens: PositiveInt = Field(2048, description="Room for the prompt beside the longest response.")
    kv_cache_gib: ChangesNoResult[PositiveFloat] = Field(1.0, description="CPU only: size of the key-value cache (GiB).")
    gpu_memory_utilization: ChangesNoResult[Fraction] = Field(
        0.45, description="GPU only: share of memory for the engine while it is awake; what the trainer keeps needs the rest."
    )
    gpu_memory_utilization_alone: ChangesNoResult[Fraction | None] = Field(
        None,
        description="GPU only: a larger share for profile and evaluate, which have no trainer beside them; a worker is started anew "
        "between these and training. Absent: the same share.",
    )
    enforce_eager: ChangesNoResult[bool] = Field(True, description="No graph capture or compilation; always true on CPU.")
    tensor_parallel: ChangesNoResult[PositiveInt] = Field(
        1, description="vLLM only: processes that share one engine, each with a part of its weights and cache."
    )
    sleep: ChangesNoResult[bool] = Field(
        True, description="GPU only: the engine leaves its memory to the update; the next weights wake it."
    )
    parity_tolerance: PositiveFloat = Field(
        0.02,
        description="float32 only: largest |engine - trainer| log-prob of a few tokens after new weights (nats); beyond it the run "
        "stops.",
    )
    kl_tolerance: ChangesNoResult[PositiveFloat] = Field(
        0.05, description="Largest mean k3 of engine and trainer over a step's trained tokens (nats); beyond it training stops."
    )

    def memory_share(self, trains: bool) -> float:
        """The engine's share of a GPU's memory, beside a trainer or alone."""
        beside = self.gpu_memory_utilization
        return beside if trains else max(beside, self.gpu_memory_utilization_alone or 0.0)

    @model_validator(mode="after")
    def _shared_by_vllm_alone(self) -> "GenerationConfig":
        if self.tensor_parallel > 1 and self.engine != "vllm":
            raise ValueError(f"tensor_parallel = {self.tensor_parallel} needs engine = 'vllm', not '{self.engine}'")
        return self

    @model_validator(mode="after")
    def _endpoint_of_openai(self) -> "GenerationConfig":
        if (self.engine == "openai") != (self.endpoint is not None):
            raise ValueError("generation.engine = 'openai' and generation.endpoint (base_url, ...) are needed together")
        return self
