"""Supervised warm-up (SFT) of the tiny model: plain next-token training on correct traces, then the gate.

It makes what a real run is given: a base model that reasons, too long, and less surely when it is brief.
"""

import dataclasses
import json
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from transformers.utils import logging as transformers_logging

from pipeline_lib.config import WarmupConfig
from pipeline_lib.files.whole_files import replacing
from pipeline_lib.tiny_world.corpus import Sample, draw_corpus, pack_batches
from pipeline_lib.tiny_world.tokenizer import MODEL_MAX_TOKENS, build_tokenizer
from pipeline_lib.tiny_world.warmup_gate import FamilyFigures, gate_reasons, measure_gate

RECORD_FILE = "warmup.json"
FINAL_RATE_FRACTION = 0.02
MAX_GRAD_NORM = 1.0
PROGRESS_EVERY_STEPS = 50
IGNORED_LABEL = -100
ROPE_THETA = 10_000.0

# Told of the tokens seen so far, and of the loss (nats per response token) of the newest steps.
OnProgress = Callable[[int, float], None]


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingFigures:
    """What the training took; losses are nats per response token, averaged over the first and last 50 steps."""

    num_samples: int
    num_tokens: int
    num_steps: int
    first_loss: float
    final_loss: float
    wall_seconds: float
    cpu_seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class WarmupResult:
    """The written model folder, the verdict of the gate with its reasons, and the figures behind it."""

    folder: Path
    passed: bool
    reasons: list[str]
    training: TrainingFigures
    gate: dict[str, FamilyFigures]


def run_warmup(config: WarmupConfig, output_folder: Path, on_progress: OnProgress = lambda *_: None) -> WarmupResult:
    """Train the tiny model from scratch, measure the gate and write the model folder, whatever the verdict.

    `on_progress` is called every 50 steps. The folder appears in one rename. Raises ValueError when `output_folder` exists and
    was not written by a warm-up.
    """
    output_folder = Path(output_folder)
    check_output_folder(output_folder)
    with _threads(config.num_threads):
        tokenizer = build_tokenizer()
        model = build_model(config, tokenizer)
        training = train(model, tokenizer, config, on_progress)
        gate = measure_gate(model.eval(), tokenizer, config)  # type: ignore[no-untyped-call]
    reasons = gate_reasons(gate, config)
    result = WarmupResult(output_folder, not reasons, reasons, training, gate)
    write_folder(model, tokenizer, config, result)
    return result


def build_model(config: WarmupConfig, tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """A Qwen3 in fp32 with random weights drawn from `config.seed`; the caller's random state is left as it was."""
    architecture = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_layers,
        intermediate_size=config.intermediate_size,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        max_position_embeddings=MODEL_MAX_TOKENS,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Qwen3ForCausalLM(architecture)  # type: ignore[no-untyped-call]
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


def train(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, config: WarmupConfig, on_progress: OnProgress
) -> TrainingFigures:
    """Train in place on `train_tokens` tokens of the corpus, loss on response tokens only."""
    wall_start, cpu_start = time.perf_counter(), time.process_time()
    samples = draw_corpus(config, tokenizer)
    batches = pack_batches(samples, config.step_tokens, config.seed)
    optimizer = _make_optimizer(model, config)
    losses: list[float] = []
    num_tokens = 0
    model.train()
    for index, batch in enumerate(batches):
        rate = config.learning_rate * rate_fraction(index, len(batches), config)
        losses.append(_optimize(model, optimizer, rate, *collate(batch, tokenizer.pad_token_id)))
        num_tokens += sum(len(sample.token_ids) for sample in batch)
        if (index + 1) % PROGRESS_EVERY_STEPS == 0 or index + 1 == len(batches):
            on_progress(num_tokens, statistics.fmean(losses[-PROGRESS_EVERY_STEPS:]))
    return TrainingFigures(
        num_samples=len(samples),
        num_tokens=num_tokens,
        num_steps=len(batches),
        first_loss=statistics.fmean(losses[:PROGRESS_EVERY_STEPS]),
        final_loss=statistics.fmean(losses[-PROGRESS_EVERY_STEPS:]),
        wall_seconds=time.perf_counter() - wall_start,
        cpu_seconds=time.process_time() - cpu_start,
    )


def _optimize(
    model: Qwen3ForCausalLM, optimizer: torch.optim.Optimizer, rate: float, token_ids: torch.Tensor, labels: torch.Tensor
) -> float:
    """One optimiser step at the given learning rate; returns the loss before it."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = response_loss(model, token_ids, labels)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def rate_fraction(index: int, num_steps: int, config: WarmupConfig) -> float:
    """The learning rate of a step as a share of the full rate: linear warm-up, flat, then linear down to 2 %."""
    if index < config.warmup_steps:
        return (index + 1) / config.warmup_steps
    done = index / num_steps
    if done <= config.flat_fraction:
        return 1.0
    return 1.0 - (1.0 - FINAL_RATE_FRACTION) * (done - config.flat_fraction) / (1.0 - config.flat_fraction)


def collate(batch: list[Sample], pad_token_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels, both [samples, longest]; labels are ignored on the prompt and on padding."""
    longest = max(len(sample.token_ids) for sample in batch)
    token_ids = torch.full((len(batch), longest), pad_token_id)
    labels = torch.full((len(batch), longest), IGNORED_LABEL)
    for row, sample in enumerate(batch):
        end = len(sample.token_ids)
        token_ids[row, :end] = torch.tensor(sample.token_ids)
        labels[row, sample.prompt_tokens : end] = token_ids[row, sample.prompt_tokens : end]
    return token_ids, labels


def response_loss(model: Qwen3ForCausalLM, token_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (nats) over the labelled tokens, each predicted from those before it."""
    # Padding is on the right and attention causal, so no real token sees a pad: no mask is needed, which is faster.
    logits = model(input_ids=token_ids, use_cache=False).logits
    return cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED_LABEL)


def _make_optimizer(model: Qwen3ForCausalLM, config: WarmupConfig) -> torch.optim.AdamW:
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.adam_betas, fused=True)


def check_output_folder(folder: Path) -> None:
    """Refuse to replace anything but an earlier warm-up; raises ValueError."""
    if folder.exists() and not (folder / RECORD_FILE).is_file():
        raise ValueError(f"output folder = {folder} exists and was not written by a warm-up (no {RECORD_FILE} in it)")


def write_folder(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, config: WarmupConfig, result: WarmupResult
) -> None:
    """Write model, tokenizer and record beside `result.folder` under a temporary name, then rename."""
    folder = result.folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing(folder) as temporary:
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        (temporary / RECORD_FILE).write_text(json.dumps(record_of(config, result), indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)


def record_of(config: WarmupConfig, result: WarmupResult) -> dict[str, Any]:
    """The content of warmup.json: recipe, what the training took, verdict and figures of the gate, versions."""
    return {
        "recipe": config.model_dump(mode="json"),
        "training": {key: round(value, 4) for key, value in dataclasses.asdict(result.training).items()},
        "gate": {
            "passed": result.passed,
            "reasons": result.reasons,
            "families": {family: figures.as_dict() for family, figures in result.gate.items()},
        },
        "versions": {"torch": str(torch.__version__), "transformers": transformers.__version__},
    }


@contextmanager
def _threads(num_threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
