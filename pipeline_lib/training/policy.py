"""The policy being trained: a causal language model under DeepSpeed, seen as log-probs of response tokens.

Shape suffixes: B sequences, T padded tokens.
"""

import pickle
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import deepspeed
import torch
from deepspeed.runtime.fp16.loss_scaler import LossScaler
from deepspeed.runtime.zero.config import ZeroStageEnum
from deepspeed.utils.tensor_fragment import fragment_address

from pipeline_lib.config import ComputeConfig, TrainConfig
from pipeline_lib.training.batches import PaddedBatch, TokenSequence, split_by_tokens
from pipeline_lib.training.model import ResponseLogprobs, checkpoint_layers, deepspeed_settings, load_causal_lm
from pipeline_lib.training.ranks import largest, rank, world_size
from pipeline_lib.training.resharding import loading_universal, plain_path

if TYPE_CHECKING:
    from pipeline_lib.training.lora import Adapters

# What DeepSpeed keeps in an optimiser's state beside tensors and plain values: classes that hold numbers.
torch.serialization.add_safe_globals([LossScaler, ZeroStageEnum, fragment_address])


class Policy:
    """The trained model, its optimiser and learning-rate schedule, sharded by DeepSpeed over the ranks."""

    def __init__(self, config: TrainConfig, compute: ComputeConfig, model: str, revision: str | None, seed: int = 0) -> None:
        self._config, self._compute = config, compute
        self._base = model, revision
        if not torch.cuda.is_available():
            # gloo does for CPU ranks: do not compile DeepSpeed's shared-memory kernel (a minute, a compiler, Python's headers).
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        causal_lm = load_causal_lm(model, revision, compute)
        self._adapters = _add_adapters(causal_lm, config, seed)
        if compute.gradient_checkpointing:
            checkpoint_layers(causal_lm, has_dropout=config.lora is not None and config.lora.dropout > 0)
        module = ResponseLogprobs(causal_lm, config.temperature)
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        # On a CPU the plain update makes two temporaries of the weights' size.
        is_fused = compute.optimizer_offload or (compute.precision == "bfloat16" and not torch.cuda.is_available())
        optimizer = torch.optim.AdamW(
            trained, lr=config.learning_rate, betas=config.adam_betas, weight_decay=config.weight_decay, fused=is_fused or None
        )
        self._learning_rate_factor = 1.0
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda taken: self._rate_share(taken))
        settings = {**deepspeed_settings(compute), "gradient_clipping": config.max_grad_norm}
        self.engine, *_ = deepspeed.initialize(model=module, optimizer=optimizer, lr_scheduler=schedule, config=settings)
        self.engine.checkpoint_engine.load = load_plain
        self.device: torch.device = self.engine.device
        self.optimizer_steps = 0

    @property
    def learning_rate(self) -> float:
        """The rate of the next optimiser step."""
        return float(self.engine.optimizer.param_groups[0]["lr"])

    def set_learning_rate_factor(self, factor: float) -> None:
        """Take `factor` times the configured rate from the next optimiser step on, whatever factor was in force."""
        self._learning_rate_factor = factor
        for group in self.engine.optimizer.param_groups:
            group["lr"] = self._config.learning_rate * self._rate_share(self.optimizer_steps)

    def _rate_share(self, steps_taken: int) -> float:
        """The share of the configured learning rate after some optimiser steps: linear warm-up, times the factor in force."""
        return min(1.0, (steps_taken + 1) / max(self._config.warmup_steps, 1)) * self._learning_rate_factor

    def logprobs(self, batch: PaddedBatch) -> torch.Tensor:
        """Log-probs of the response tokens, logprobs_BT."""
        result: torch.Tensor = self.engine(batch.input_ids_BT, batch.response_mask_BT)
        return result

    @torch.no_grad()
    def base_logprobs(self, batch: PaddedBatch) -> torch.Tensor:
        """Log-probs of the response tokens under the base model, logprobs_BT; with LoRA only, which leaves it as it was."""
        assert self._adapters is not None, "the base model is no longer there"
        with self._adapters.disabled():
            return self.logprobs(batch)

    @torch.no_grad()
    def score(self, prompts: Sequence[list[int]], responses: Sequence[list[int]]) -> list[list[float]]:
        """Log-probs of each response's tokens, as lists (the parity check's `ScoreTokens`)."""
        sequences = [
            TokenSequence(list(prompt), list(response), [0.0] * len(response), 0.0)
            for prompt, response in zip(prompts, responses, strict=True)
        ]
        batch = PaddedBatch.from_sequences(sequences, self.device)
        logprobs_BT = self.logprobs(batch)
        return [logprobs_BT[row][batch.response_mask_BT[row]].tolist() for row in range(len(sequences))]

    def backward(self, loss: torch.Tensor, is_last: bool) -> None:
        """Accumulate gradients of a loss that is already divided by the step's denominator over all ranks."""
        self.engine.set_gradient_accumulation_boundary(is_last)
        # DeepSpeed averages over ranks; the denominator has summed over them already.
        self.engine.backward(loss * world_size())
        if not is_last:
            self.engine.step()

    def step(self) -> float | None:
        """Take the optimiser step and return the gradient norm before clipping.

        None, on all ranks alike, when DeepSpeed skipped the step, which it does for a gradient that is not finite.
        """
        self.engine.step()
        if not self.engine.was_step_applied():
            return None
        self.optimizer_steps += 1
        return float(self.engine.get_global_grad_norm())

    def micro_batches(self, sequences: Sequence[TokenSequence]) -> list[PaddedBatch]:
        """Micro-batches of this rank, their number made equal over ranks by empty ones (collectives must match)."""
        batches = [
            PaddedBatch.from_sequences(part, self.device)
            for part in split_by_tokens(sequences, self._compute.micro_batch_tokens)
        ]
        most = int(largest(len(batches)))
        filler = TokenSequence([0, 0], [0], [0.0], 0.0, is_filler=True)
        batches += [PaddedBatch.from_sequences([filler], self.device) for _ in range(most - len(batches))]
        return batches

    def named_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Whole parameters under their Hugging Face names, gathered one by one where ZeRO-3 shards them."""
        sharded = self._compute.zero_stage == 3
        if self._adapters:
            yield from self._adapters.merged_weights(sharded)
            return
        for name, parameter in self.engine.module.model.named_parameters():
            with deepspeed.zero.GatheredParameters([parameter]) if sharded else nullcontext():
                yield name, parameter.data

    def save_state(self, folder: Path) -> None:
        """Optimiser, schedule and weights as DeepSpeed stores them; every rank writes its part."""
        self.engine.save_checkpoint(
            str(folder),
            tag="state",
            client_state={"optimizer_steps": self.optimizer_steps},
            exclude_frozen_parameters=self._adapters is not None,
        )

    def load_state(self, folder: Path, is_universal: bool = False) -> None:
        """Restore what `save_state` wrote (same world size), or what `universal_state` has made of it (any)."""
        with plain_path(folder) as plain, loading_universal(self.engine) if is_universal else nullcontext():
            path, client_state = self.engine.load_checkpoint(str(plain), tag="state", load_module_strict=self._adapters is None)
        if path is None:
            raise ValueError(f"no training state in {folder}")
        self.optimizer_steps = int(client_state["optimizer_steps"])

    def save_model(self, folder: Path, tokenizer: Any) -> None:
        """A plain model folder (safetensors, tokenizer); rank 0 writes, all ranks must call."""
        state = {}
        for name, weight in self.named_weights():  # on every rank, since gathering needs them all; kept on one
            if rank() == 0:
                state[name] = weight.detach().cpu().clone()
        if rank() == 0:
            self.engine.module.model.save_pretrained(folder, state_dict=state)
            tokenizer.save_pretrained(folder)

    def save_adapter(self, folder: Path) -> None:
        """With LoRA the adapters alone, as PEFT's folder; rank 0 writes, all ranks must call."""
        if self._adapters:
            self._adapters.save(folder, *self._base, sharded=self._compute.zero_stage == 3)


class Weights:
    """A policy's `named_weights`, which can be gone through again and again."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        return self._policy.named_weights()


def _add_adapters(causal_lm: Any, config: TrainConfig, seed: int) -> "Adapters | None":
    if config.lora is None:
        return None
    from pipeline_lib.training.lora import Adapters  # PEFT takes a second to import

    return Adapters(causal_lm, config.lora, seed)


def load_plain(path: str | Path, map_location: Any = None) -> Any:
    """What `torch.save` wrote, if it is tensors and plain values: a pickle could name anything to be called.

    DeepSpeed's own loading takes any pickle. Raises ValueError for a file that holds anything else, which nothing of it runs.
    """
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors and plain values: it is not from a training run, and is not loaded"
        ) from error
