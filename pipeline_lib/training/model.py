"""A causal language model for the trainer: loaded with no copy to spare, its layers checkpointed, its logits never whole.

Shape suffixes: B sequences, T padded tokens, K response tokens of a micro-batch, D hidden size.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import deepspeed
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.initialization import no_init_weights
from transformers.modeling_layers import GradientCheckpointingLayer

from pipeline_lib.config import ComputeConfig
from pipeline_lib.memory.plan import chunk_tokens
from pipeline_lib.training.ranks import rank, take_from_first


class ResponseLogprobs(nn.Module):
    """A causal language model whose forward pass gives the log-prob of every response token at the sampling temperature.

    From then on the model's output layer takes hidden states *and* targets, and returns log-probs.
    """

    def __init__(self, model: Any, temperature: float) -> None:
        super().__init__()
        self.model = model
        head = model.get_output_embeddings()
        # The loop over chunks is inside the layer's own forward pass: ZeRO-3 gathers the weight once for all chunks of a rank.
        head.forward = partial(chunked_logprobs, head.forward, chunk_tokens(head.out_features), temperature)

    def forward(self, input_ids_BT: torch.Tensor, response_mask_BT: torch.Tensor) -> torch.Tensor:
        """Return logprobs_BT, float32, zero outside the mask."""
        hidden_BTD = self.model.base_model(input_ids=input_ids_BT, use_cache=False).last_hidden_state
        # The token at t is predicted by the hidden state at t - 1.
        is_response_BT = response_mask_BT[:, 1:]
        head = self.model.get_output_embeddings()
        logprobs_K: torch.Tensor = head(hidden_BTD[:, :-1][is_response_BT], input_ids_BT[:, 1:][is_response_BT])
        logprobs_BT = logprobs_K.new_zeros(response_mask_BT.shape)
        return logprobs_BT.masked_scatter(response_mask_BT, logprobs_K)


def chunked_logprobs(
    head: Callable[[torch.Tensor], torch.Tensor],
    size: int,
    temperature: float,
    hidden_KD: torch.Tensor,
    targets_K: torch.Tensor,
) -> torch.Tensor:
    """Log-probs of the targets, logprobs_K in float32; the logits of a chunk are computed again in the backward pass."""

    def of_chunk(hidden_KD: torch.Tensor, targets_K: torch.Tensor) -> torch.Tensor:
        logits = head(hidden_KD).float()
        scaled = logits if temperature == 1.0 else logits / temperature
        return torch.log_softmax(scaled, dim=-1).gather(-1, targets_K[:, None]).squeeze(-1)

    chunks = [slice(start, start + size) for start in range(0, len(targets_K), size)]
    keep_input = partial(checkpoint, of_chunk, use_reentrant=False, preserve_rng_state=False)
    return torch.cat([keep_input(hidden_KD[chunk], targets_K[chunk]) for chunk in chunks])


def checkpoint_layers(model: Any, has_dropout: bool = False) -> None:
    """Keep a layer's input only, and compute the rest again in the backward pass, with the same dropout where there is some.

    Transformers' own switch acts in training mode alone, which would turn on dropout and a router's noise: rollouts were generated
    without. Raises ValueError for a model without layers that can be checkpointed.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ValueError(f"{type(model).__name__} has no layers to checkpoint: set compute.gradient_checkpointing = false")
    for layer in layers:
        if has_dropout:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
        else:
            layer.forward = partial(_checkpointed, layer.forward)


def _checkpointed(forward: Callable[..., torch.Tensor], hidden_BTD: torch.Tensor, **options: Any) -> torch.Tensor:
    """Torch's older way: the newer one's hooks on every tensor of a layer take half as long as launching it anew.

    Its first pass is without gradients, where dropout would not act.
    """
    if (
        torch.is_grad_enabled() and not hidden_BTD.requires_grad
    ):  # frozen embeddings: without it the first layer gets no gradient
        hidden_BTD = hidden_BTD.detach().requires_grad_()
    output: torch.Tensor = checkpoint(partial(forward, **options), hidden_BTD, use_reentrant=True, preserve_rng_state=False)
    return output


def deepspeed_settings(compute: ComputeConfig) -> dict[str, Any]:
    """What DeepSpeed is told of the machine, with or without an optimiser."""
    zero: dict[str, Any] = {"stage": compute.zero_stage, "stage3_gather_16bit_weights_on_model_save": True}
    if compute.optimizer_offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        # DeepSpeed's own CPU optimiser is compiled where it runs; torch's fused one is as fast.
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": compute.precision == "bfloat16"},
        # In bfloat16 a micro-batch's gradient below half a unit in the last place of the sum would vanish.
        "data_types": {"grad_accum_dtype": "fp32"},
        # ZeRO-1 reduces the sum, which must not be rounded for the way; the others reduce each micro-batch's gradient.
        "communication_data_type": "fp32" if compute.zero_stage == 1 else None,
        "wall_clock_breakdown": False,
        "steps_per_print": 10**9,
    }


def load_causal_lm(model: str, revision: str | None, compute: ComputeConfig) -> Any:
    """A transformers model in the configured precision, from a folder or the hub, on this rank's device; all ranks must call.

    With ZeRO-3 rank 0 alone reads the weights, into CPU memory, and parameter by parameter they go to the ranks' shards.
    """
    dtype = getattr(torch, compute.precision)
    if compute.zero_stage < 3:
        device_map = "cuda" if torch.cuda.is_available() else None  # straight from the file, not by way of CPU memory
        return AutoModelForCausalLM.from_pretrained(model, revision=revision, dtype=dtype, device_map=device_map)
    if rank() == 0:
        causal_lm = AutoModelForCausalLM.from_pretrained(model, revision=revision, dtype=dtype)
    else:
        config = AutoConfig.from_pretrained(model, revision=revision)
        with no_init_weights():  # memory that is never written takes no place
            causal_lm = AutoModelForCausalLM.from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
        causal_lm.eval()
        causal_lm.tie_weights()
    deepspeed.zero.Init(module=causal_lm, config_dict_or_path=deepspeed_settings(compute))
    for buffer in causal_lm.buffers():
        buffer.data = buffer.data.to("cuda" if torch.cuda.is_available() else "cpu")
        take_from_first(buffer)
    return causal_lm
