"""Guidelines on the machine: whether the run fits the memory of its GPUs, by the memory plan."""

from pipeline_lib.guidelines.plan import PlannedRun
from pipeline_lib.guidelines.rule import Advice, rule
from pipeline_lib.memory import settings_that_fit
from pipeline_lib.memory.remedy import FEW_SEQUENCES, largest_share, overrides, with_settings

NUMBERS_OF_GPUS = (2, 4, 8, 16)


@rule(
    ["error"],
    basis="the memory plan",
    fires="a phase takes more than the GPU has, or the engine's cache is below one sequence; where the model's sizes are known",
)
def out_of_memory(plan: PlannedRun) -> Advice | None:
    """Engine and trainer share each GPU. What does not fit ends the run where it is reached: as the engine starts, or in the first
    update, after hours of profiling."""
    if plan.memory is None or plan.architecture is None or not plan.memory.problems:
        return None
    config, number = plan.config, plan.config.compute.num_processes
    found = f"{number} × {plan.card.gib:.1f} GiB ({plan.card.name}): " + "; ".join(plan.memory.problems)
    settings = settings_that_fit(config, plan.architecture, plan.card)
    if settings:
        return Advice("error", found, "Turn these keys.", overrides(settings))
    for more in (many for many in NUMBERS_OF_GPUS if many > number):
        settings = settings_that_fit(with_settings(config, {"compute.num_processes": more}), plan.architecture, plan.card)
        if settings is not None:
            return Advice("error", found, f"It takes {more} such GPUs.", overrides({"compute.num_processes": more, **settings}))
    return Advice("error", found, "Take a smaller model, or train adapters ([train.lora]).")


@rule(
    ["warning"],
    basis="the memory plan",
    fires=f"the engine's cache holds fewer than {FEW_SEQUENCES} of the longest sequences (ours), and more memory is free for it",
)
def small_cache(plan: PlannedRun) -> Advice | None:
    """Sequences that the cache has no room for wait: generation, which is most of a step, then takes a multiple of its time."""
    if plan.memory is None or plan.architecture is None or plan.memory.problems:
        return None
    generation = plan.config.generation
    share = largest_share(plan.config, plan.architecture, plan.card)
    if plan.memory.cache_sequences >= FEW_SEQUENCES or share < generation.gpu_memory_utilization + 0.05:
        return None
    found = (
        f"generation.gpu_memory_utilization = {generation.gpu_memory_utilization:g}: a cache of {plan.memory.cache_tokens} tokens, "
        f"{plan.memory.cache_sequences:.1f} of the longest sequences"
    )
    return Advice("warning", found, "Give the engine what is free.", (f"generation.gpu_memory_utilization={share:g}",))
