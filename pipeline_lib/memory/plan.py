"""GiB on each GPU in each phase of a run: plain arithmetic on the configuration, the model's architecture and the card.

In the formulas P is the number of weights, T those that are trained (P, or the adapters of LoRA), G the processes, one a GPU,
D the hidden size, e the bytes of the trainer's number format. Bytes a weight of the trainer: e P weights, 4 T gradients (summed
in float32), 12 T optimiser (float32 master weights and two moments); ZeRO 1 divides the optimiser by G, 2 the gradients too,
3 the weights too. docs/performance.md says what was measured against it.
"""

from dataclasses import dataclass

from pipeline_lib.config import RunConfig
from pipeline_lib.memory.architecture import Architecture
from pipeline_lib.memory.card import Card

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

# Estimates. Beside what torch allocates: CUDA context, NCCL, cuBLAS.
CONTEXT_GIB = 1.5
# Within the engine's share: vLLM's activations and captured graphs.
ENGINE_WORK_GIB = 3.0
# What vLLM keeps while it sleeps.
ASLEEP_GIB = 1.0
# Share of the card that is left to the fragmentation of torch's allocator.
SLACK = 0.02
# A process on a CPU without a model: torch, transformers, vLLM and DeepSpeed imported, and what has been in use.
PROCESS_GIB = 1.6
# DeepSpeed's defaults: elements of the bucket that gradients are reduced in, and of the weights that ZeRO-3 has whole at once.
BUCKET = 5e8
LIVE_WEIGHTS = 1e9
# Of one chunk of the output layer: its logits in float32, the most rows of it, and bytes of a logit with the copies and gradients
# that its backward pass holds at once.
CHUNK_BYTES = 2**29
MOST_CHUNK_TOKENS = 2048
LOGIT_BYTES = 12


@dataclass(frozen=True, slots=True)
class Phase:
    """GiB on one GPU at the peak of a phase, by part."""

    name: str
    parts: dict[str, float]

    @property
    def total(self) -> float:
        """All parts together."""
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The phases of a run on one GPU, what the engine's cache holds, and GiB of the machine's own memory: beside GPUs, and without.

    In profile and evaluate the engine is alone, with a share and so a cache of its own; a training step generates, goes forward and
    back, and takes an optimiser step.
    """

    usable_gib: float
    phases: tuple[Phase, ...]
    cache_tokens: int
    cache_tokens_alone: int
    longest_tokens: int
    host_gib: float
    cpu_gib: float

    @property
    def cache_sequences(self) -> float:
        """Sequences of the longest length that the cache holds at once."""
        return self.cache_tokens / self.longest_tokens

    @property
    def problems(self) -> list[str]:
        """What does not fit, a line each; empty when all does."""
        lines = [
            f"{phase.name}: {phase.total:.1f} GiB a GPU of {self.usable_gib:.1f}"
            for phase in self.phases
            if phase.total > self.usable_gib
        ]
        if self.cache_sequences < 1:
            lines.append(
                f"the engine's cache: {max(self.cache_tokens, 0)} tokens, and one sequence may have {self.longest_tokens}"
            )
        return lines


def memory_plan(config: RunConfig, model: Architecture, card: Card) -> MemoryPlan:
    """The plan of a run with `compute.num_processes` GPUs of this kind; where the fleet is split these are the trainer's, beside the
    engines'."""
    generation, is_apart = config.generation, config.fleet.is_split
    alone, share = (generation.memory_share(trains or is_apart) * card.gib for trains in (False, True))
    parallel = generation.tensor_parallel if is_apart else min(generation.tensor_parallel, config.compute.num_processes)
    engine_weights = BYTES[generation.dtype] * model.parameters / parallel / GIB
    key_value_heads = max(model.key_value_heads / parallel, 1)
    token_bytes = 2 * model.layers * key_value_heads * model.head_width * BYTES[generation.dtype]
    trainer = _Trainer(config, model)
    others = engine_weights + ENGINE_WORK_GIB
    asleep = 0.0 if is_apart else ASLEEP_GIB if generation.sleep else share
    resident = {"engine": asleep, "other": CONTEXT_GIB + trainer.buffers}
    held = trainer.weights | trainer.gradients | trainer.optimizer
    return MemoryPlan(
        usable_gib=card.gib * (1 - SLACK),
        phases=(
            Phase("engine alone", {"engine": alone, "other": CONTEXT_GIB}),
            Phase(
                "generation",
                {"engine": share, "other": CONTEXT_GIB}
                | ({} if is_apart else trainer.between_steps | {"other": CONTEXT_GIB + trainer.live}),
            ),
            Phase("backward pass", resident | held | trainer.activations | trainer.logits),
            Phase("optimiser step", resident | held | {"other": resident["other"] + trainer.step}),
        ),
        cache_tokens=int((share - others) * GIB / token_bytes),
        cache_tokens_alone=int((alone - others) * GIB / token_bytes),
        longest_tokens=config.max_model_tokens,
        host_gib=trainer.host,
        cpu_gib=cpu_gib(config, model),
    )


def cpu_gib(config: RunConfig, model: Architecture) -> float:
    """GiB of the machine at the peak of training without a GPU, all processes together: there the engine never sleeps."""
    trainer, trained = _Trainer(config, model), trained_parameters(config, model)
    size, number = BYTES[config.compute.precision], config.compute.num_processes
    # vLLM packs a tied output layer a second time; DeepSpeed fills its bucket and flattens it.
    engine = BYTES[config.generation.dtype] * (model.parameters + model.is_tied * model.vocabulary * model.hidden) / GIB
    bucket = 2 * size * min(BUCKET, trained) / GIB
    backward = sum((trainer.activations | trainer.logits).values()) + bucket
    # The plain update of float32 weights has two temporaries.
    step = 8 * trained / number / GIB if size == 4 else 0.0
    is_first = config.train.steps * config.train.staleness == 1  # Adam's moments are made in the first optimiser step
    moments = 8 * trained / number / GIB
    peak = max(backward - is_first * moments, step)
    held = sum(sum(part.values()) for part in (trainer.weights, trainer.gradients, trainer.optimizer))
    apart = config.fleet.generators if config.fleet.is_split else 0
    return (
        (number + apart) * PROCESS_GIB + (apart or number) * (engine + config.generation.kv_cache_gib) + number * (held + peak)
    )


class _Trainer:
    """GiB of the trainer on one GPU, by part."""

    def __init__(self, config: RunConfig, model: Architecture) -> None:
        compute = config.compute
        size, stage, offload = BYTES[compute.precision], compute.zero_stage, compute.optimizer_offload
        number = compute.num_processes
        trained = trained_parameters(config, model)
        # A frozen copy for the KL; with LoRA the model without its adapters is that copy.
        copies = 1 + ((config.train.measure_kl or config.train.kl_coefficient > 0) and config.train.lora is None)
        weights = copies * size * model.parameters / (number if stage == 3 else 1)
        gradients = 4 * trained / (1 if stage == 1 else number)
        optimizer = 12 * trained / number
        self.weights = {"weights": weights / GIB}
        self.gradients = {"gradients": 0.0 if offload and stage == 3 else gradients / GIB}
        self.optimizer = {"optimiser": 0.0 if offload else optimizer / GIB}
        # DeepSpeed keeps the gradients' memory at stages 1 and 3, and gives it back after each step at stage 2.
        self.between_steps = self.weights | self.optimizer | (self.gradients if stage != 2 else {})
        bucket = size * BUCKET if stage > 1 else 4 * min(BUCKET, trained)
        live = size * min(LIVE_WEIGHTS + model.parameters_of_a_layer, model.parameters) if stage == 3 else 0
        # What ZeRO-3 gathers of the layers: also while the engine is awake, when its log-probs are held against the trainer's.
        self.live = live / GIB
        self.buffers = bucket / GIB + self.live
        # The update of all weights at once has one temporary of their size in float32; ZeRO-3 flattens the gradients, too.
        self.step = 0.0 if offload else 4 * trained / number * (2 if stage == 3 else 1) / GIB
        # Master weights, moments, gradients and what is copied to the GPU.
        self.host = (18 * trained if offload else 0) / GIB
        tokens = max(compute.micro_batch_tokens, longest_trained(config))
        layer = tokens * layer_bytes(model, size)
        norm = tokens * norm_bytes(model, size)
        kept = tokens * size * model.hidden if compute.gradient_checkpointing else layer
        self.activations = {"activations": (model.layers * kept + norm) / GIB}
        # Of the backward pass the start and each step: the output layer, or a layer computed again.
        rows = min(chunk_tokens(model.vocabulary), tokens)
        head = rows * model.vocabulary * LOGIT_BYTES + size * model.vocabulary * model.hidden
        self.logits = {"logits": max(head, layer if compute.gradient_checkpointing else 0) / GIB}


def chunk_tokens(vocabulary: int) -> int:
    """Rows of the output layer computed at once."""
    return max(1, min(MOST_CHUNK_TOKENS, CHUNK_BYTES // (4 * vocabulary)))


def longest_trained(config: RunConfig) -> int:
    """Tokens of the longest sequence of an update: it is a micro-batch even where it is longer than that may be."""
    limits = [config.train.rollout_limit_tokens]
    if config.control.enabled:
        limits.append(config.control.rollout_limit_tokens or 0)
    return config.generation.max_prompt_tokens + max(limits)


def trained_parameters(config: RunConfig, model: Architecture) -> int:
    """Weights that get gradients: all, or those of the adapters, a pair of matrices of the rank beside each linear layer."""
    lora = config.train.lora
    if lora is None:
        return model.parameters
    chosen = model.linear_layers if lora.target_modules == "all-linear" else lora.target_modules
    sizes = [sum(model.linear_layers[name]) for name in chosen if name in model.linear_layers]
    return model.layers * int(lora.rank) * sum(sizes)


def norm_bytes(model: Architecture, size: int) -> int:
    """Bytes a token that a norm keeps: its input in float32, what it scales, and its result as the input of the next layers."""
    return (4 + 2 * size) * model.hidden + 4


def layer_bytes(model: Architecture, size: int) -> int:
    """Bytes a token that a layer keeps for its backward pass, with attention that does not store its matrix (flash, SDPA)."""
    query, key = model.heads * model.head_width, model.key_value_heads * model.head_width
    head_norms = ((4 + size) * (query + key) + 4 * (model.heads + model.key_value_heads)) if model.has_head_norms else 0
    attention = head_norms + size * (2 * query + 2 * key) + 4 * model.heads
    if model.experts:
        # Each routed token: in, gate and up, activation, product, out, indices.
        routed = size * (2 * model.hidden + 4 * model.feed_forward) + 32 + size
        feed_forward = model.experts_per_token * routed + 4 * model.experts
    else:
        feed_forward = 4 * size * model.feed_forward
    return 2 * norm_bytes(model, size) + attention + feed_forward
