"""Guidelines on a model that is served elsewhere: its key, and what is said of its tokens."""

import os

from pipeline_lib.guidelines.plan import PlannedRun
from pipeline_lib.guidelines.rule import Advice, rule


@rule(["warning"], basis="docs/howto/served-model.md", fires="a key would go over plain http to another machine")
def key_in_the_clear(plan: PlannedRun) -> Advice | None:
    """Whoever is on the way reads the key, the problems and the responses."""
    endpoint = plan.config.generation.endpoint
    if not endpoint or not endpoint.key_variable or endpoint.base_url.startswith("https:") or endpoint.is_local:
        return None
    found = f"generation.endpoint.base_url = '{endpoint.base_url}', key_variable = '{endpoint.key_variable}'"
    return Advice("warning", found, "Take https, or a tunnel that ends on this machine.")


@rule(["warning"], basis="docs/howto/served-model.md", fires="the variable that is to hold the key is not set here")
def key_not_set(plan: PlannedRun) -> Advice | None:
    """The stages refuse to begin without it."""
    endpoint = plan.config.generation.endpoint
    if not endpoint or not endpoint.key_variable or os.environ.get(endpoint.key_variable, "").strip():
        return None
    return Advice("warning", f"generation.endpoint.key_variable = '{endpoint.key_variable}'", "Set the variable to the key.")


@rule(["note"], basis="docs/howto/served-model.md", fires="an endpoint on another machine, and no price of tokens")
def served_without_price(plan: PlannedRun) -> Advice | None:
    """What is asked is counted in any case; with prices the run also says what it cost."""
    endpoint = plan.config.generation.endpoint
    if not endpoint or endpoint.is_local or plan.config.prices.is_by_token:
        return None
    return Advice(
        "note", "no price of tokens in [prices]", "Give prices.input_per_million_tokens and output_per_million_tokens."
    )
