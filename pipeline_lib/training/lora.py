"""LoRA: low-rank adapters beside the frozen linear layers of the policy, and the plain weights that they amount to.

The model keeps its class. A layer that has an adapter becomes PEFT's, which holds the model's own as `base_layer`; what leaves
this module has the names of the model without adapters.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import deepspeed
import peft
import torch
from peft.tuners.lora import Linear, LoraLayer
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import save_file

from pipeline_lib.config import LoraConfig
from pipeline_lib.training.ranks import rank

NAME = "default"  # PEFT's own name of the only adapter
# PEFT and vLLM look for the weights of an adapter under the names that PEFT's wrapper of a model would give them.
PREFIX = "base_model.model."


class Adapters:
    """The adapters of a causal language model, which they are put into; everything else in it is frozen."""

    def __init__(self, model: Any, config: LoraConfig, seed: int) -> None:
        """Put untrained adapters, which change nothing yet, beside the layers of `target_modules`.

        Raises ValueError where a name of these is not in the model, or names something else than linear layers of its blocks.
        """
        targets = config.target_modules
        self._settings = peft.LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules=targets if isinstance(targets, str) else list(targets),
            task_type="CAUSAL_LM",
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            peft.inject_adapter_in_model(self._settings, model, NAME)
        self._model = model
        self._layers: dict[str, Any] = {name: layer for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}
        self._check(targets)
        for layer in self._layers.values() if config.dropout else ():
            layer.lora_dropout[NAME] = _DropoutForGradients(config.dropout)

    def _check(self, targets: str | tuple[str, ...]) -> None:
        said = f"train.lora.target_modules = {targets!r}"
        absent = [name for name in targets if not any(f".{layer}".endswith(f".{name}") for layer in self._layers)]
        if absent and not isinstance(targets, str):
            raise ValueError(f"{said}: the model has no layer {', '.join(absent)}")
        for name, layer in self._layers.items():
            # An adapter of an output layer that is tied to the embeddings could not be merged without untying them.
            if not isinstance(layer, Linear) or layer is self._model.get_output_embeddings():
                raise ValueError(f"{said}: {name} is no linear layer of the model's blocks, which alone take adapters")

    def merged_weights(self, sharded: bool) -> Iterator[tuple[str, torch.Tensor]]:
        """Whole parameters under the names of the model without adapters, each merged into a copy as it is asked for.

        With `sharded` the parameters are gathered from all ranks, which must all iterate.
        """
        for name, parameter in self._model.named_parameters():
            if _is_adapters(name):
                continue
            layer = self._layers.get(name.removesuffix(".base_layer.weight"))
            parts = [parameter] if layer is None else [parameter, layer.lora_A[NAME].weight, layer.lora_B[NAME].weight]
            with deepspeed.zero.GatheredParameters(parts, enabled=sharded):
                yield name.replace(".base_layer.", "."), parameter.data if layer is None else _merged(layer)

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The model computes what it did before it had adapters."""
        for layer in self._layers.values():
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in self._layers.values():
                layer.enable_adapters(True)

    def save(self, folder: Path, base_model: str, revision: str | None, sharded: bool) -> None:
        """Write the adapters as PEFT's folder, for that base model; rank 0 writes, all ranks must call."""
        weights = {}
        for name, parameter in self._model.named_parameters():
            if _is_adapters(name):
                with deepspeed.zero.GatheredParameters([parameter], enabled=sharded):
                    if rank() == 0:
                        weights[PREFIX + name.replace(f".{NAME}.", ".")] = parameter.detach().cpu().clone()
        if rank() == 0:
            self._settings.base_model_name_or_path, self._settings.revision = base_model, revision
            self._settings.save_pretrained(str(folder))
            save_file(weights, folder / SAFETENSORS_WEIGHTS_NAME, metadata={"format": "pt"})


class _DropoutForGradients(torch.nn.Dropout):
    """Dropout in the passes that give gradients only: where log-probs are measured, they are those of the merged model."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) if torch.is_grad_enabled() else input


def _is_adapters(name: str) -> bool:
    return ".lora_A." in name or ".lora_B." in name


@torch.no_grad()
def _merged(layer: Linear) -> torch.Tensor:
    weight: torch.Tensor = layer.weight + layer.get_delta_weight(NAME)
    return weight
