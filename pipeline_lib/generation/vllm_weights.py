"""Inside a vLLM worker: weights replaced in place, what the CPU backend derives from them made anew, and checksums of what is there."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pipeline_lib.generation.checksums import Checksums, checksum, counting


@dataclass(frozen=True, slots=True)
class Held:
    """Checksums of what a worker should hold and of what it holds, and what it takes to compare them.

    `held` is this rank's part: what several ranks have in common is counted by the first alone.
    """

    sent: Checksums
    held: Checksums
    fused: Mapping[str, Sequence[str]]
    unseen: frozenset[str]  # tensors that the CPU backend has packed away


def reload(worker: Any, named_weights: Iterable[tuple[str, torch.Tensor]] | None, path: str, revision: str | None) -> Held:
    """Replace a worker's weights by these, or without them by those of a model folder or hub id."""
    model, sent = worker.get_model(), Counter[str]()
    on_cpu = worker.device.type == "cpu"
    if named_weights is None:
        named_weights = _stored_weights(worker, path, revision)
    if on_cpu:
        forget_expert_kernels(model)
    worker.reload_weights(weights_iterator=counted(model, worker.model_config.dtype, worker.device, named_weights, sent))
    if on_cpu:
        pack_tied_head(model)
    return held_by(worker, sent)


def compare(worker: Any, path: str, revision: str | None) -> Held:
    """What a worker holds, beside the weights of a model folder or hub id, which are read only."""
    sent: Checksums = Counter()
    stored = _stored_weights(worker, path, revision)
    for _ in counted(worker.get_model(), worker.model_config.dtype, worker.device, stored, sent):
        pass
    return held_by(worker, sent)


def counted(
    model: Any, dtype: torch.dtype, device: torch.device, named_weights: Iterable[tuple[str, torch.Tensor]], sent: Checksums
) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights that a model takes, whose checksums are put into `sent`."""
    if getattr(model.config, "tie_word_embeddings", False):
        named_weights = ((name, weight) for name, weight in named_weights if not name.startswith("lm_head."))
    return counting(named_weights, dtype, sent, device)


def held_by(worker: Any, sent: Checksums) -> Held:
    """What a worker holds, beside checksums of what it should hold."""
    model, held = worker.get_model(), Counter[str]()
    for name, tensor in _own_tensors(model):
        held[name] += checksum(tensor, worker.model_config.dtype)
    unseen = frozenset(name for name, parameter in model.named_parameters() if not parameter.numel())
    return Held(sent, held, dict(getattr(model, "packed_modules_mapping", {})), unseen)


def _stored_weights(worker: Any, path: str, revision: str | None) -> Iterator[tuple[str, torch.Tensor]]:
    from vllm.model_executor.model_loader import get_model_loader

    config = worker.model_config
    config.model, config.model_weights, config.revision = path, "", revision
    loader: Any = get_model_loader(worker.vllm_config.load_config)
    weights: Iterator[tuple[str, torch.Tensor]] = loader.get_all_weights(config, worker.get_model())
    return weights


def forget_expert_kernels(model: Any) -> None:
    """Have the experts of a mixture packed at the reload as at the first load.

    With a kernel in place vLLM takes the new values for packed ones, which on the CPU they are not.
    """
    for module in model.modules():
        if getattr(getattr(module, "quant_method", None), "moe_kernel", None) is not None:
            module.quant_method.moe_kernel = None


def pack_tied_head(model: Any) -> None:
    """Renew the packed copy of a tied output layer, which a reload does not touch."""
    if getattr(model.config, "tie_word_embeddings", False):
        from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

        dispatch_cpu_unquantized_gemm(model.lm_head, remove_weight=False)


def _own_tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters that this rank counts: over all ranks of a tensor-parallel engine each value of the model is there once."""
    from vllm.distributed import get_tensor_model_parallel_rank
    from vllm.model_executor.layers.linear import QKVParallelLinear, ReplicatedLinear, RowParallelLinear

    rank, seen = get_tensor_model_parallel_rank(), set()
    for prefix, module in model.named_modules():
        tp_size = getattr(module, "tp_size", None) or getattr(getattr(module, "moe_config", None), "tp_size", None) or 1
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            is_cut = tp_size > 1 and not isinstance(module, ReplicatedLinear)
            if isinstance(module, RowParallelLinear) and name == "bias":
                is_cut = False
            if not is_cut and rank > 0:
                continue
            tensor = parameter.detach()
            if isinstance(module, QKVParallelLinear) and rank % module.num_kv_head_replicas:
                tensor = tensor[: module.num_heads * module.head_size]  # its keys and values are another rank's, too
            yield f"{prefix}.{name}", tensor
