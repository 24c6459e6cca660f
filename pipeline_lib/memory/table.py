"""The memory plan for readers: the phases of one run, and many configurations over numbers of GPUs."""

from collections.abc import Iterable
from pathlib import Path

from pipeline_lib.config import RunConfig, load_config
from pipeline_lib.config.shipped import PROJECT, shipped_configs
from pipeline_lib.files.markdown import table
from pipeline_lib.memory.architecture import Architecture, architecture_of
from pipeline_lib.memory.card import H100, Card
from pipeline_lib.memory.plan import MemoryPlan, memory_plan
from pipeline_lib.memory.remedy import overrides, settings_that_fit, with_settings

GPUS = (1, 4, 8)
PARTS = ("engine", "weights", "gradients", "optimiser", "activations", "logits", "other")
COLUMNS = (
    "configuration",
    "GPUs",
    "engine alone: its cache",
    "generation: the engine's cache",
    "backward pass",
    "optimiser step",
    "verdict",
)
# Below this a model fits any card.
TOY_PARAMETERS = 0.1e9

Table = tuple[list[str], list[list[str]]]


def phase_table(plan: MemoryPlan) -> Table:
    """A row a phase, in GiB on one GPU."""
    rows = [
        [phase.name, *(f"{phase.parts[part]:.1f}" if phase.parts.get(part) else "" for part in PARTS), f"{phase.total:.1f}"]
        for phase in plan.phases
    ]
    return ["GiB a GPU", *PARTS, "sum"], rows


def cache_words(plan: MemoryPlan, is_alone: bool = False) -> str:
    """What the engine's cache holds beside the trainer, or alone: tokens, and sequences of the longest length."""
    tokens = max(plan.cache_tokens_alone if is_alone else plan.cache_tokens, 0)
    return f"{tokens / 1000:,.0f} k tokens, {tokens / plan.longest_tokens:.1f} sequences"


def configuration_table(configs: Iterable[tuple[str, RunConfig]], card: Card) -> Table:
    """A row for each configuration and number of GPUs; toys and models of unknown architecture are left out."""
    rows = []
    for name, config in configs:
        model = architecture_of(config.base_model)
        if model is not None and model.parameters > TOY_PARAMETERS:
            rows += [_row(name, config, model, card, number) for number in sorted({*GPUS, config.compute.num_processes})]
    return list(COLUMNS), rows


def _row(name: str, config: RunConfig, model: Architecture, card: Card, number: int) -> list[str]:
    changed = with_settings(config, {"compute.num_processes": number})
    plan = memory_plan(changed, model, card)
    _, generation, *update = (f"{phase.total:.1f}" for phase in plan.phases)
    own = " (its own)" if number == config.compute.num_processes else ""
    engine = f"{plan.phases[0].parts['engine']:.1f}: {cache_words(plan, is_alone=True)}"
    verdict = _verdict(changed, model, card, plan)
    return [name, f"{number}{own}", engine, f"{generation}: {cache_words(plan)}", *update, verdict]


def _verdict(config: RunConfig, model: Architecture, card: Card, plan: MemoryPlan) -> str:
    if not plan.problems:
        return "fits"
    needed = settings_that_fit(config, model, card)
    return f"with {', '.join(overrides(needed))}" if needed else "does not fit"


def fitting_configs(card: Card, number: int) -> list[str]:
    """Names of the shipped configurations that so many such cards take as they are."""
    return [
        name
        for name, config in _shipped()
        if (model := architecture_of(config.base_model)) is not None
        and config.compute.num_processes <= number
        and not memory_plan(config, model, card).problems
    ]


def render_memory() -> str:
    """The shipped configurations on the card that they are made for, as Markdown (docs/performance.md)."""
    return table(*configuration_table(_shipped(), H100))


def _shipped() -> list[tuple[str, RunConfig]]:
    return [(Path(path).stem, load_config(PROJECT / path)) for path in shipped_configs()]
