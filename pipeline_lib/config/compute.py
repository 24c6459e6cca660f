"""The machine that a run trains on."""

from typing import Literal

from pydantic import Field

from pipeline_lib.section import ChangesNoResult, CountsAsDefault, NonNegativeInt, PositiveInt, Section


class ComputeConfig(Section):
    """How the worker uses the machine: processes and threads, the trainer's precision, and what it trades for memory."""

    launcher: ChangesNoResult[Literal["torch", "deepspeed"]] = Field(
        "torch", description="What starts several processes. torch: torch.distributed.run; deepspeed: its own launcher."
    )
    num_processes: CountsAsDefault[PositiveInt] = Field(
        1, description="World size: one process per GPU, each with its own engine. A run may be resumed with another number."
    )
    num_threads: ChangesNoResult[PositiveInt] = Field(
        1, description="CPU threads of each worker process, for generation and training alike."
    )
    precision: Literal["float32", "bfloat16"] = Field("bfloat16", description="bfloat16 keeps float32 master weights.")
    zero_stage: Literal[1, 2, 3] = Field(1, description="DeepSpeed ZeRO stage (0 reports no gradient norm in fp32).")
    optimizer_offload: ChangesNoResult[bool] = Field(
        False, description="Optimiser state and step in CPU memory: 12 bytes a parameter less on the GPUs, slower steps."
    )
    gradient_checkpointing: bool = Field(False, description="Recompute activations instead of keeping them: less memory.")
    micro_batch_tokens: ChangesNoResult[PositiveInt] = Field(
        16384, description="Padded tokens in one forward and backward pass."
    )
    restarts: ChangesNoResult[NonNegativeInt] = Field(
        2,
        description="How often a stage goes on with a new worker after one that died (out of memory, a lost rank, killed); an error "
        "that would come again ends it at once.",
    )
