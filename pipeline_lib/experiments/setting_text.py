"""The setting of an experiment in words: arms and what they change, the base, sizes that do not depend on the machine."""

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline_lib.config import RunConfig
from pipeline_lib.config.loading import to_toml_value
from pipeline_lib.experiments.results import ExperimentResults
from pipeline_lib.experiments.specification import ExperimentConfig
from pipeline_lib.files.markdown import table
from pipeline_lib.report.summary import duration_text


def shown_name(value: str) -> str:
    """A model or file as the page calls it: a path by its last part, as it lies elsewhere on every machine."""
    is_path = value.startswith(("/", "~", "./", "../"))
    return Path(value).name if is_path else value


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings as they are written in a configuration; a dash for none."""
    shown = {key: shown_name(value) if isinstance(value, str) else value for key, value in settings.items()}
    return ", ".join(f"`{key} = {to_toml_value(value)}`" for key, value in shown.items()) or "the base configuration"


def settings_table(experiment: ExperimentConfig) -> str:
    rows = [
        [f"{arm.label}{' (control)' if arm.is_control and 'control' not in arm.label else ''}", settings_text(arm.set)]
        for arm in experiment.arms
    ]
    return table(["arm", "changes to the base configuration"], rows)


def setup_sentences(results: ExperimentResults) -> list[str]:
    """What the arms share, and what all child runs took."""
    experiment = results.experiment
    shared = [f"All arms: {settings_text(experiment.set)}."] if experiment.set else []
    if not results.children:
        return shared
    return [*shared, _common_setup(results), _cost(results)]


def _common_setup(results: ExperimentResults) -> str:
    """What most child runs have in common; where an arm differs, the table of the arms says so."""
    configs = [child.config for child in results.children]

    def usual(value: Callable[[RunConfig], Any]) -> Any:
        return statistics.mode(value(config) for config in configs)

    train = (
        f"{usual(lambda c: c.train.steps)} steps of {usual(lambda c: c.train.prompts_per_step)} prompts × "
        f"{usual(lambda c: c.train.num_rollouts)} rollouts, S = {usual(lambda c: c.train.staleness)}, "
        f"L_R = {usual(lambda c: c.train.rollout_limit_tokens)} and L_T = {usual(lambda c: c.reward.target_tokens)} tokens, "
        f"reward `{usual(lambda c: c.reward.name)}`, learning rate {usual(lambda c: c.train.learning_rate):g}"
    )
    samples = usual(lambda c: c.evaluate.num_samples)
    benchmarks = ", ".join(f"{source.name} ({_problems(source)} × {samples})" for source in configs[0].evaluate.benchmarks)
    seeds = f"Seed{'s' if len(results.seeds) > 1 else ''} {', '.join(map(str, results.seeds))}"
    keys = ", ".join(f"`{key}`" for key in results.experiment.seed_keys)
    return (
        f"Unless the table says otherwise: base model `{shown_name(usual(lambda c: c.base_model))}`; trained on "
        f"{_problems(configs[0].prompts)} of {configs[0].prompts.name}, {train}; evaluated on {benchmarks} samples. {seeds} "
        f"(a seed sets {keys})."
    )


def _problems(source: Any) -> str:
    return f"{source.num_prompts} problems" if source.num_prompts else "all problems"


def _cost(results: ExperimentResults) -> str:
    steps = [row for child in results.children for row in child.curve]
    rollouts = sum(row["num_rollouts"] for row in steps)
    tokens = sum(row["num_rollouts"] * row["mean_tokens"] for row in steps)
    seconds = sum(child.seconds for child in results.children)
    return (
        f"{len(results.children)} child runs in all: {len(steps):,} steps, {rollouts:,} training rollouts with "
        f"{tokens / 1e6:.1f} million tokens. Their wall times add up to {duration_text(seconds)}; they can go side by side, and what "
        "another run had done for the same inputs was taken over."
    )
