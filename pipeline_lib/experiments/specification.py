"""An experiment as a file: a base configuration, arms or a grid over it, seeds, and the claims it is judged by."""

import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline_lib.config import RunConfig, digest, load_config, parse_config
from pipeline_lib.config.loading import SHIPPED_CONFIGS, read_toml, to_toml_value
from pipeline_lib.experiments.metric_text import describe_metric
from pipeline_lib.section import Name, NonNegativeInt, Section, is_name

EXPERIMENTS_FOLDER = SHIPPED_CONFIGS / "experiments"


class Arm(Section):
    """One setting of an experiment: what it changes in the base configuration."""

    name: Name = Field(description="Short name; part of the child runs' names.")
    label: str = Field(description="The setting in words, for figures and tables.")
    set: dict[str, Any] = Field(default_factory=dict, description="section.key = value, applied to the base configuration.")
    is_control: bool = Field(False, description="The correctness-only control: drawn in grey, named as such.")


class Claim(Section):
    """A statement of the paper as a comparison of one metric, between two arms or of one arm with a number."""

    text: str = Field(description="The claim in words.")
    metric: str = Field(description="Metric of a child run (pipeline_lib.experiments.metrics).")
    arm: str = Field(description="Arm that the claim is about.")
    versus: str | None = Field(None, description="Arm it is compared with, seed by seed; absent: compared with `value`.")
    versus_metric: str | None = Field(None, description="Metric of the other side, where it differs.")
    value: float = Field(0.0, description="Number added to the other side, or the whole of it without `versus`.")
    relation: Literal["<", ">", ">=", "<=", "~"] = Field(
        description="What is claimed. < and >: the interval of the difference excludes 0; <= and >=: it does not contradict by more "
        "than `margin`; ~: equal within `margin`."
    )
    is_ours: bool = Field(False, description="Not a claim of the paper: shown on the page, but no part of the verdict.")
    margin: float = Field(0.0, ge=0.0, description="Difference that does not matter (~, <=, >=).")


class ExperimentConfig(Section):
    name: Name
    finding: str = Field(description="Finding of the paper, such as F3.")
    title: str
    paper: str = Field(description="What the paper says, in a sentence or two.")
    setting: str = Field("", description="What was varied here and what was kept, for the page.")
    base: str = Field("base.toml", description="Base configuration, relative to the experiment's file.")
    set: dict[str, Any] = Field(default_factory=dict, description="Changes to the base that all arms share.")
    arms: tuple[Arm, ...] = Field((), description="Settings compared; or give `grid`.")
    grid: dict[str, list[Any]] = Field(
        default_factory=dict, description="section.key = [values]: one arm for each combination."
    )
    seeds: tuple[NonNegativeInt, ...] = Field((0, 1, 2), min_length=1, description="Seeds of the child runs.")
    seed_keys: tuple[str, ...] = Field(("seed", "prompts.seed"), description="Settings that a seed sets.")
    claims: tuple[Claim, ...] = ()
    metrics: tuple[str, ...] = Field((), description="Metrics of the page's table, in order.")
    foresight: str | None = Field(
        None, description="Metric by which the arms are ranked against the preview's score; absent: no such section."
    )
    panels: tuple[str, ...] = Field((), description="Columns of training_steps drawn beside the standard ones.")
    discussion: str = Field("", description="What was seen and tried, in Markdown, as of the figures in docs/findings.")

    @model_validator(mode="before")
    @classmethod
    def _expand_grid(cls, tree: Any) -> Any:
        """Turn a grid into arms, named after their values."""
        if not isinstance(tree, dict) or not tree.get("grid"):
            return tree
        keys = list(tree["grid"])
        arms = []
        for values in itertools.product(*tree["grid"].values()):
            setting = dict(zip(keys, values, strict=True))
            text = ", ".join(f"{key.split('.')[-1]} = {value}" for key, value in setting.items())
            slug = re.sub(r"[^a-z0-9]+", "-", "-".join(str(value) for value in values).lower()).strip("-")
            arms.append({"name": slug, "label": text, "set": setting})
        return {**tree, "arms": [*arms, *tree.get("arms", [])]}

    @field_validator("foresight")
    @classmethod
    def _known_metric(cls, metric: str | None) -> str | None:
        if metric is not None and describe_metric(metric) is None:
            raise ValueError("foresight names no metric of a child run (docs/experiments.md)")
        return metric

    @model_validator(mode="after")
    def _consistent(self) -> "ExperimentConfig":
        names = [arm.name for arm in self.arms]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"arms = {names}: at least one arm, each with its own name, is needed")
        unknown = {arm for claim in self.claims for arm in (claim.arm, claim.versus) if arm is not None} - set(names)
        if unknown:
            raise ValueError(f"claims name arms {sorted(unknown)} that are not among {names}")
        return self


@dataclass(frozen=True, slots=True)
class ChildRun:
    """One arm at one seed."""

    experiment: str
    finding: str
    arm: Arm
    position: int
    seed: int
    config: RunConfig


def experiment_names() -> list[str]:
    return sorted(path.stem for path in EXPERIMENTS_FOLDER.glob("f*.toml"))


def experiment_file(name: str) -> Path:
    """The file of an experiment: a path, or the name of a shipped one. Raises ValueError listing the names there are."""
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        return path
    shipped = EXPERIMENTS_FOLDER / f"{name}.toml"
    if not is_name(name) or not shipped.is_file():
        raise ValueError(f"no experiment {name!r}; there are {', '.join(experiment_names())}, or give a .toml file")
    return shipped


def load_experiment(name: str) -> ExperimentConfig:
    """Read and check an experiment, its arms' configurations included. Raises ValueError with one line per problem."""
    path = experiment_file(name)
    experiment = parse_config(read_toml(path), ExperimentConfig, origin=str(path))
    child_runs(experiment, path, experiment.seeds[:1])
    return experiment


def with_overrides(experiment: ExperimentConfig, overrides: tuple[str, ...]) -> ExperimentConfig:
    """The experiment under a name of its own where overrides change it: its rows and page must not pass for the original's."""
    if not overrides:
        return experiment
    said = f"{experiment.setting} Changed for all arms: {', '.join(overrides)}.".strip()
    name = f"{experiment.name}-{digest(list(overrides))[:6]}"
    return experiment.model_copy(update={"name": name, "setting": said, "discussion": ""})


def child_runs(
    experiment: ExperimentConfig, path: Path, seeds: tuple[int, ...], overrides: tuple[str, ...] = ()
) -> list[ChildRun]:
    """All arms at all seeds, seed by seed, so that an interrupted experiment has whole seeds. `overrides` win over the arms."""
    base = path.parent / experiment.base
    runs = []
    for seed in seeds:
        for position, arm in enumerate(experiment.arms):
            changes = {**experiment.set, **arm.set, **dict.fromkeys(experiment.seed_keys, seed)}
            settings = [f"{key}={to_toml_value(value)}" for key, value in changes.items()]
            name = f'name="{experiment.name}-{arm.name}-s{seed}"'
            config = load_config(base, [*settings, *overrides, name])
            runs.append(ChildRun(experiment.name, experiment.finding, arm, position, seed, config))
    return runs
