"""Which keys to turn so that a run fits its GPUs: the least of the changes that do it, found by planning them."""

import math
from itertools import product

from pipeline_lib.config import RunConfig
from pipeline_lib.memory.architecture import Architecture
from pipeline_lib.memory.card import Card
from pipeline_lib.memory.plan import longest_trained, memory_plan

Setting = bool | int | float
# vLLM wants some of the card left when it starts.
LARGEST_SHARE = 0.85
# Whole sequences in the engine's cache below which generation waits for room.
FEW_SEQUENCES = 8


def largest_share(config: RunConfig, model: Architecture, card: Card) -> float:
    """The largest `generation.gpu_memory_utilization` that leaves the trainer its room."""
    plan = memory_plan(config, model, card)
    beside = plan.phases[1:2] if config.generation.sleep else plan.phases[1:]
    room = plan.usable_gib - max(phase.total - phase.parts["engine"] for phase in beside)
    return max(min(math.floor(100 * room / card.gib) / 100, LARGEST_SHARE), 0.0)


def settings_that_fit(config: RunConfig, model: Architecture, card: Card) -> dict[str, Setting] | None:
    """The changes with which the run fits, by key: as few and as cheap ones as there are; None when there are none."""
    compute, generation = config.compute, config.generation
    number = compute.num_processes
    # vLLM gives each part whole heads.
    splits = [n for n in (1, 2, 4, 8) if n >= generation.tensor_parallel and model.heads % n == 0]
    splits = [n for n in splits if config.fleet.is_split or number % n == 0]
    # What costs most speed varies least, so that the first that fits is the cheapest.
    choices: dict[str, list[Setting]] = {
        "compute.optimizer_offload": [compute.optimizer_offload, True],
        "generation.tensor_parallel": [generation.tensor_parallel, *splits],
        "compute.micro_batch_tokens": [compute.micro_batch_tokens, min(longest_trained(config), compute.micro_batch_tokens)],
        "compute.zero_stage": [compute.zero_stage, *(stage for stage in (2, 3) if stage > compute.zero_stage and number > 1)],
        "compute.gradient_checkpointing": [compute.gradient_checkpointing, True],
        "generation.sleep": [generation.sleep, True],
    }
    for least_sequences, values in product((FEW_SEQUENCES, 1), list(product(*choices.values()))):
        changed = with_settings(config, dict(zip(choices, values, strict=True)))
        share = largest_share(changed, model, card)
        for candidate in (changed, with_settings(changed, {"generation.gpu_memory_utilization": share})):
            plan = memory_plan(candidate, model, card)
            if not plan.problems and plan.cache_sequences >= least_sequences:
                keys = [*choices, "generation.gpu_memory_utilization"]
                return {key: _value(candidate, key) for key in keys if _value(candidate, key) != _value(config, key)}
    return None


def with_settings(config: RunConfig, changes: dict[str, Setting]) -> RunConfig:
    """The configuration with some keys of [compute] and [generation] changed."""
    sections = {
        section: getattr(config, section).model_copy(
            update={key.partition(".")[2]: value for key, value in changes.items() if key.startswith(f"{section}.")}
        )
        for section in ("compute", "generation")
    }
    return config.model_copy(update=sections)


def _value(config: RunConfig, key: str) -> Setting:
    section, _, name = key.partition(".")
    value: Setting = getattr(getattr(config, section), name)
    return value


def overrides(settings: dict[str, Setting]) -> tuple[str, ...]:
    """Settings as `section.key=value`."""
    return tuple(f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in settings.items())
