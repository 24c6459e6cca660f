"""A configuration to begin with: from a model, data and a card, by the paper, the shipped files and the memory plan.

Each value is written with its reason. The sizes are those of shipped files: demo.toml (the tiny model), smollm2-135m.toml (no GPU),
gym.toml (GPUs); lengths are the longest, up to its 4,096 tokens, with which the memory plan fits, at need with adapters (LoRA).
"""

import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from pipeline_lib.config import RunConfig, parse_config
from pipeline_lib.config.loading import include_sources, to_toml_value
from pipeline_lib.guidelines.data_sources import DataSource, Reasoned
from pipeline_lib.guidelines.plan import ModelSize, model_size
from pipeline_lib.memory import Card, architecture_of, memory_plan, settings_that_fit
from pipeline_lib.memory.remedy import with_settings
from pipeline_lib.prompts.chat_templates import has_chat_template

LENGTHS = (4096, 2048, 1024)
SMALL_PARAMETERS = 0.5e9  # what is smaller was trained here at the settings of smollm2-135m.toml
WHY_FIT = "by the memory plan, so that it fits"
CHAT_STYLES = {
    r"deepseek-r1-distill": ("r1-distill", "its model card: a response begins with <think>"),
    r"qwen3-[\d.]+b(-a\d+b)?$": ("qwen3-thinking", "it thinks, or not, as it is told; 'qwen3-non-thinking' for not"),
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large a run is begun with: L_R = L_T in tokens, of a profile's rollout and the smallest budget too, and the batches."""

    length: int
    profile_length: int
    smallest_budget: int
    steps: int
    prompts_per_step: int
    num_prompts: int
    num_held_out: int


TINY = Sizes(64, 192, 24, steps=40, prompts_per_step=20, num_prompts=280, num_held_out=140)
CPU = Sizes(128, 128, 32, steps=30, prompts_per_step=8, num_prompts=200, num_held_out=50)


@dataclass(frozen=True, slots=True)
class Beginning:
    """What is known before a run: `card` None for no GPU, `served_name` what the endpoint at the address `model` calls it."""

    name: str
    model: str
    data: DataSource
    tests: tuple[DataSource, ...] = ()
    card: Card | None = None
    num_gpus: int = 1
    served_name: str | None = None
    key_variable: str | None = None
    size: ModelSize = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", ModelSize(None, "unknown") if self.is_served else model_size(self.model))

    @property
    def is_served(self) -> bool:
        return self.model.startswith(("http://", "https://"))

    @property
    def is_small(self) -> bool:
        return (self.size.num_parameters or SMALL_PARAMETERS) < SMALL_PARAMETERS

    def sizes(self, length: int) -> Sizes:
        """Those of the shipped file nearest to it."""
        if self.size.is_toy or (self.card is None and not self.is_served):
            return TINY if self.size.is_toy else CPU
        prompts = -(-32 // self.num_gpus) * self.num_gpus  # processes share them equally
        return Sizes(length, length, length // 4, 200, prompts, num_prompts=2000, num_held_out=100)


def first_configuration(begun: Beginning) -> str:
    """The text of a file. Raises ValueError where no settings fit the cards, and for what the configuration refuses."""
    model = None if begun.is_served else architecture_of(begun.model)
    if model is None or begun.card is None:
        text = _text(begun, begun.sizes(LENGTHS[0]), False, {})
        _parsed(text, begun.name)
        return text
    for length, lora in product(LENGTHS, (False, True)):
        sizes = begun.sizes(length)
        config = _parsed(_text(begun, sizes, lora, {}), begun.name)
        changes = settings_that_fit(config, model, begun.card)
        if changes is not None:
            own = memory_plan(with_settings(config, changes), model, begun.card).host_gib
            why = {"compute.optimizer_offload": f"{WHY_FIT}: {own:.0f} GiB of the machine's own memory instead"}
            return _text(begun, sizes, lora, {key: (value, why.get(key, WHY_FIT)) for key, value in changes.items()})
    raise ValueError(
        f"{begun.model} ({begun.size.text}) does not fit {begun.num_gpus} × {begun.card.gib:g} GiB, not even with adapters and "
        f"{LENGTHS[-1]} tokens: give --gpus, a larger --card, or a smaller model"
    )


def _parsed(text: str, name: str) -> RunConfig:
    return parse_config(include_sources(tomllib.loads(text), Path()), RunConfig, origin=f"{name}.toml")


def _text(begun: Beginning, sizes: Sizes, lora: bool, changes: Reasoned) -> str:
    """The file; `changes` are settings by their keys that win over what would be written."""
    lines = [f"# Written by `laconic init {begun.name}`: a place to begin, every value with its reason. Lengths are in tokens."]
    for header, settings in _sections(begun, sizes, lora):
        section = header.strip("[]")
        fitting = {key.partition(".")[2]: found for key, found in changes.items() if key.startswith(f"{section}.")}
        lines += ["", header] if header else [""]
        for key, (value, why) in (settings | fitting).items():
            setting = f"{key} = {_one_line(value)}"
            lines.append(f"{setting:<39} # {why}" if why else setting)
    return "\n".join(lines) + "\n"


def _one_line(value: Any) -> str:
    return f"[{', '.join(map(to_toml_value, value))}]" if isinstance(value, list) else to_toml_value(value)


def _sections(begun: Beginning, sizes: Sizes, lora: bool) -> Iterator[tuple[str, Reasoned]]:
    yield "", _model(begun)
    yield "[prompts]", begun.data.training(sizes.num_prompts)
    yield "[generation]", _generation(begun, sizes)
    if begun.is_served:
        key = {"key_variable": (begun.key_variable, "the variable that holds the key, which is stored nowhere")}
        yield "[generation.endpoint]", {"base_url": (begun.model, ""), **(key if begun.key_variable else {})}
    temperature: Reasoned = {"temperature": (0.5, "so small a model loses the thread at 1")} if _is_tempered(begun) else {}
    yield (
        "[profile]",
        {
            "num_rollouts": (8, "the paper's: how often of 8 is the base model right?"),
            "rollout_limit_tokens": (
                sizes.profile_length,
                "as in training" if sizes is not TINY else "room for the base's long answers",
            ),
            **temperature,
        },
    )
    yield "[filter]", {"subset": ("easy", "pass rate > 0.5: hard prompts make training collapse (F3); too few: 'band'")}
    if not begun.is_served:
        yield from _training(begun, sizes, lora, temperature)
    budgets = [sizes.smallest_budget * 2**power for power in range(4)]
    yield (
        "[evaluate]",
        {
            "budgets_tokens": (budgets, "one generation at the largest is scored at all"),
            "num_samples": (8 if begun.card or begun.is_served else 4, "the paper: 8; fewer are quicker, with wider intervals"),
            **temperature,
        },
    )
    # What is served is not trained: nothing needs to be held out.
    own = [begun.data.training(sizes.num_prompts)] if begun.is_served else begun.data.judged(sizes.num_held_out)
    for source in [test.whole() for test in begun.tests] or own:
        yield "[[evaluate.benchmarks]]", source


def _is_tempered(begun: Beginning) -> bool:
    return begun.card is None and begun.is_small and not begun.size.is_toy


def _model(begun: Beginning) -> Reasoned:
    top: Reasoned = {"name": (begun.name, ""), "seed": (0, "another seed is another run")}
    if begun.is_served:
        return top | {"base_model": (begun.served_name, "what the endpoint calls it; it is judged, not trained")}
    top["base_model"] = (begun.model, begun.size.text)
    for pattern, style in CHAT_STYLES.items():
        if re.search(pattern, begun.model.lower()):
            top["chat_style"] = style
    if has_chat_template(begun.model) is False:
        top["chat_template"] = ("plain", "a base model without turns of its own: Question: … Answer: …; or a Jinja file")
    return top


def _generation(begun: Beginning, sizes: Sizes) -> Reasoned:
    longest = {
        "max_prompt_tokens": (begun.data.prompt_tokens(begun.size.is_toy), "longer prompts are left out: `laconic prompts`")
    }
    if begun.is_served:
        return {"engine": ("openai", "an OpenAI-compatible endpoint"), **longest}
    engine: Reasoned = {
        "engine": ("vllm", ""),
        "dtype": ("float32", "small enough for it") if begun.size.is_toy else ("bfloat16", "as the trainer's precision"),
        **longest,
    }
    if begun.card is None:
        at_once = (256 if begun.size.is_toy else 64, "at once")
        return engine | {"max_num_seqs": at_once, "kv_cache_gib": (0.5, "of the machine's memory, for sequences in progress")}
    if architecture_of(begun.model):
        share = (0.85, "the engine sleeps during the update: what the trainer leaves it")
    else:
        share = (0.45, "careful, as the model's sizes are not known here: see `laconic check` when it is")
    return engine | {"gpu_memory_utilization": share, "enforce_eager": (False, "graphs: a slower start, faster tokens")}


def _training(begun: Beginning, sizes: Sizes, lora: bool, temperature: Reasoned) -> Iterator[tuple[str, Reasoned]]:
    number = begun.data.num_rows
    at_once = sizes.prompts_per_step if number is None else min(sizes.prompts_per_step, max(number // 4, 1))
    at_once = max(at_once // begun.num_gpus, 1) * begun.num_gpus
    rate = (3e-4, "the tiny model's") if begun.size.is_toy else (1e-6, "the paper's")
    if _is_tempered(begun):
        rate = (2e-5, "measured with 0.1 billion (docs/findings/real-model.md); from half a billion on 1e-6")
    yield (
        "[reward]",
        {
            "name": ("truncation", "the paper's: 1 for what is right within L_T, else 0"),
            "target_tokens": (sizes.length, "L_T: after the profile see `laconic preview`"),
        },
    )
    yield (
        "[train]",
        {
            "steps": (sizes.steps, "length falls first, accuracy comes back later (F1): stop when both are flat"),
            "prompts_per_step": (at_once, "no more than the filter keeps; the paper: 128"),
            "num_rollouts": (8, "N: the paper's; 24 where they can be afforded (F4)"),
            "rollout_limit_tokens": (sizes.length, "L_R = L_T: what is too long is cut, not finished and thrown away"),
            **temperature,
            "learning_rate": (1e-5, "adapters: ten times that of whole weights") if lora else rate,
            **({} if begun.size.is_toy else {"engine_ratio_cap": (2.0, "engine and trainer round differently")}),
        },
    )
    if lora:
        yield "[train.lora]", {"rank": (32, "adapters are trained: the optimiser of the whole model does not fit")}
    yield "[compute]", _compute(begun)
    yield "[checkpoint]", {"every_steps": (max(sizes.steps // 10, 5), "a checkpoint, and a validation"), "keep_last": (2, "")}
    yield "[validation.source]", begun.data.held_out(max(sizes.num_held_out // 2, 1))
    yield (
        "[control]",
        {
            "enabled": (begun.size.is_toy, "true: trains a second run on correctness alone, to compare with"),
            "rollout_limit_tokens": (
                max(sizes.profile_length, 2 * sizes.length),
                "above L_T, so that length costs the control nothing",
            ),
        },
    )


def _compute(begun: Beginning) -> Reasoned:
    precision = ("float32", "small enough for it") if begun.size.is_toy else ("bfloat16", "with float32 master weights")
    if begun.card is None:
        threads = (
            (os.cpu_count() or 1, "of this machine") if not begun.size.is_toy else (1, "run and control train side by side")
        )
        return {"precision": precision, "num_threads": threads, "micro_batch_tokens": (4096 if begun.size.is_toy else 2048, "")}
    plan = "the rest fits them by the memory plan" if architecture_of(begun.model) else "whether it fits is not known here"
    several: Reasoned = {"zero_stage": (2, "GPUs share optimiser and gradients")} if begun.num_gpus > 1 else {}
    return {
        "precision": precision,
        "num_processes": (begun.num_gpus, f"GPUs of {begun.card.gib:g} GiB; {plan}"),
        **several,
        "gradient_checkpointing": (True, "activations are computed again: less memory"),
        "num_threads": (8, "CPU threads a process"),
        "micro_batch_tokens": (16384, "changes speed and memory, not results"),
    }
