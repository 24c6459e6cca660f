"""One run: a section per stage, each with the paper's default where the paper gives one."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from pipeline_lib.config.compute import ComputeConfig
from pipeline_lib.config.fleet import FleetConfig, require_possible_ahead
from pipeline_lib.config.generation import GenerationConfig
from pipeline_lib.config.prices import PricesConfig
from pipeline_lib.config.retraining import RetrainConfig
from pipeline_lib.config.sources import CHAT_STYLES, ChatStyle, Examples, PromptSource, read_chat_template
from pipeline_lib.config.stages import EvaluateConfig, FilterConfig, ProfileConfig
from pipeline_lib.config.training import CheckpointConfig, TrainConfig, ValidationConfig, WatchConfig
from pipeline_lib.files.home import digest
from pipeline_lib.messages.addresses import remember_address
from pipeline_lib.rewards import RewardConfig, make_reward
from pipeline_lib.section import (
    ChangesNoResult,
    CountsWhereGiven,
    Name,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Section,
)

# Where a run's configuration holds prompt sources: section and key in it.
SOURCES: tuple[tuple[str, str | None], ...] = (("prompts", None), ("validation", "source"), ("evaluate", "benchmarks"))


class ControlConfig(Section):
    """A second run of its own without pressure on length, so that a change can be credited to the length reward."""

    enabled: bool = Field(False, description="Train the control as well.")
    reward_name: str = Field("vanilla", description="The control's reward; vanilla looks at correctness only.")
    rollout_limit_tokens: PositiveInt | None = Field(
        None,
        description="The control's L_R; absent: the run's. With L_R = L_T the limit itself is the pressure, so give a larger one.",
    )
    side_by_side: ChangesNoResult[bool] = Field(
        True,
        description="Train run and control at once where they share no card: one process each on a CPU, or with `devices`.",
    )
    devices: ChangesNoResult[tuple[NonNegativeInt, ...]] = Field(
        (), description="Visible cards of the control's worker, one a process; the run takes the first. Empty: the run's."
    )


class TrackingConfig(Section):
    """MLflow."""

    enabled: bool = Field(True, description="Send runs, metrics and models to MLflow.")
    uri: str | None = Field(
        None,
        description="Tracking server; absent: MLFLOW_TRACKING_URI, else mlflow.db in LACONIC_HOME. A password in it is used and "
        "not stored (docs/sql.md).",
    )
    experiment: Name = Field("laconic", description="Name of the MLflow experiment.")
    registered_model: Name | None = Field(None, description="Name in the model registry; absent: the run's name.")
    timeout_seconds: PositiveFloat = Field(10.0, description="How long one call may take before it is put off.")

    @field_validator("uri")
    @classmethod
    def _without_password(cls, uri: str | None) -> str | None:
        """A configuration is stored, sent to MLflow and shown: the password stays in this process."""
        return uri and remember_address(uri)


class RunConfig(Section):
    """One complete, self-contained run: profile, filter, train, checkpoint, evaluate, register, report."""

    name: Name = Field(description="Name of the run: lower case, digits, '.', '_', '-'.")
    seed: NonNegativeInt = Field(0, description="Fixes the draws of prompts and rollouts.")
    base_model: str = Field(
        description="Model folder, hub id, 'models:/NAME/VERSION' or 'models:/NAME@ALIAS' of the MLflow registry, or "
        "'builtin:tiny' (the base that ships with the package); with engine = 'openai' what the endpoint calls the model."
    )
    chat_style: ChatStyle = Field(
        "model", description="How the model is told to think, for all sources that do not say it themselves."
    )
    chat_template: CountsWhereGiven[Annotated[str | None, BeforeValidator(read_chat_template)]] = Field(
        None,
        description="A Jinja file to render with, or 'plain' (Question: … Answer: …), for a base model without a template or in "
        "place of its own ('' for that); read with the configuration, and saved with the trained model.",
    )
    system_prompt: CountsWhereGiven[str | None] = Field(
        None, description="The system turn of all sources that do not set it themselves ('' for none)."
    )
    examples: CountsWhereGiven[Examples] = Field(
        None, description="The example turns of all sources that do not set them themselves ([] for none)."
    )
    model_revision: str | None = Field(None, description="Hub only: commit or tag of the base model.")
    prompts: PromptSource
    generation: GenerationConfig = GenerationConfig()
    profile: ProfileConfig = ProfileConfig()
    filter: FilterConfig = FilterConfig()
    reward: RewardConfig = Field(default_factory=RewardConfig)
    train: TrainConfig
    compute: ComputeConfig = ComputeConfig()
    fleet: ChangesNoResult[FleetConfig] = FleetConfig()
    watch: WatchConfig = WatchConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    validation: ValidationConfig | None = Field(None, description="Absent: the last checkpoint counts as the best.")
    evaluate: EvaluateConfig
    control: ControlConfig = ControlConfig()
    tracking: ChangesNoResult[TrackingConfig] = TrackingConfig()
    prices: ChangesNoResult[PricesConfig] = PricesConfig()
    retrain: ChangesNoResult[RetrainConfig | None] = Field(
        None, description="Retraining with a gate; absent: not retrained on a schedule."
    )

    @model_validator(mode="before")
    @classmethod
    def _spread_chat_style(cls, tree: Any) -> Any:
        """Give every source what it does not set itself: the settings of the chat style, system prompt and examples."""
        if not isinstance(tree, dict):
            return tree
        given = {key: tree[key] for key in ("system_prompt", "examples") if tree.get(key) is not None}
        defaults = CHAT_STYLES.get(tree.get("chat_style", "model"), {}) | given
        return _with_defaults(tree, defaults) if defaults else tree

    @model_validator(mode="before")
    @classmethod
    def _train_nothing(cls, tree: Any) -> Any:
        """A model that is served elsewhere is not trained: its configuration needs no section on how."""
        generation = tree.get("generation") if isinstance(tree, dict) else None
        is_served = isinstance(generation, dict) and generation.get("engine") == "openai"
        return {"train": {"steps": 1}, **tree} if is_served else tree

    @model_validator(mode="after")
    def _served_as_it_is(self) -> "RunConfig":
        if self.is_served and self.retrain:
            raise ValueError(
                "generation.engine = 'openai': a model that is served elsewhere is not retrained, leave [retrain] out"
            )
        if self.is_served and self.chat_template:
            raise ValueError(
                "chat_template: with generation.engine = 'openai' the endpoint's own renders, leave it out or set ''"
            )
        held_out = [self.validation.source] if self.validation else []
        for source in [self.prompts, *self.evaluate.benchmarks, *held_out] if self.is_served else ():
            if source.response_prefix:
                raise ValueError(
                    f"response_prefix = {source.response_prefix!r} of {source.name!r}: with generation.engine = 'openai' the "
                    "endpoint's own chat template opens the response, leave it out (chat_style = 'model')"
                )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
        make_reward(self.reward, self.train.rollout_limit_tokens)  # its lengths must fit L_R: told now, not by the worker
        if self.train.negative_rollouts == "L_R=L_T" and self.train.rollout_limit_tokens != self.reward.target_tokens:
            raise ValueError(
                f"train.negative_rollouts = 'L_R=L_T' samples at the target length, but train.rollout_limit_tokens = "
                f"{self.train.rollout_limit_tokens} is not reward.target_tokens = {self.reward.target_tokens}"
            )
        if self.reward.target_tokens > self.train.rollout_limit_tokens:
            raise ValueError(
                f"reward.target_tokens = {self.reward.target_tokens} is above train.rollout_limit_tokens = "
                f"{self.train.rollout_limit_tokens}: no rollout could be too long, so the reward would not act on length"
            )
        if self.control.enabled:
            limit = self.control.rollout_limit_tokens or self.train.rollout_limit_tokens
            if self.control.reward_name == "vanilla" and limit <= self.reward.target_tokens:
                raise ValueError(
                    f"control.rollout_limit_tokens = {limit} is not above reward.target_tokens = {self.reward.target_tokens}: "
                    "a rollout cut at the target length earns nothing, so the control would be under the same pressure on length"
                )
        return self

    @model_validator(mode="after")
    def _prompts_are_shared_equally(self) -> "RunConfig":
        staleness, num_processes, prompts = self.train.staleness, self.compute.num_processes, self.train.prompts_per_step
        if prompts % (staleness * num_processes):
            raise ValueError(
                f"train.staleness = {staleness} times compute.num_processes = {num_processes} does not divide "
                f"train.prompts_per_step = {prompts}: the optimiser steps of a batch, and the processes, share its prompts equally"
            )
        return self

    @model_validator(mode="after")
    def _engines_are_whole(self) -> "RunConfig":
        tensor_parallel, number = self.generation.tensor_parallel, self.compute.num_processes
        if not self.fleet.is_split and number % tensor_parallel:
            raise ValueError(
                f"generation.tensor_parallel = {tensor_parallel} does not divide compute.num_processes = {number}: "
                "each engine takes that many processes"
            )
        cards = self.control.devices
        if cards and not len(cards) == len(set(cards)) == number:
            raise ValueError(f"control.devices = {[*cards]}: compute.num_processes = {number} needs as many cards, each once")
        if self.fleet.kind == "ray" and tensor_parallel > self.fleet.gpus_per_node:
            raise ValueError(
                f"generation.tensor_parallel = {tensor_parallel} is above fleet.gpus_per_node = {self.fleet.gpus_per_node}: "
                "an engine is on one node"
            )
        require_possible_ahead(self.fleet, self.train, self.watch)
        return self

    @model_validator(mode="after")
    def _gate_judges_what_is_evaluated(self) -> "RunConfig":
        gate = self.retrain.gate if self.retrain else None
        names = [benchmark.name for benchmark in self.evaluate.benchmarks]
        for key, wanted, there in (
            ("budgets_tokens", gate and gate.budgets_tokens, list(self.evaluate.budgets_tokens)),
            ("benchmarks", gate and gate.benchmarks, names),
        ):
            unknown = [item for item in wanted or () if item not in there]
            if unknown:
                raise ValueError(f"retrain.gate.{key}: {unknown} is not among those of evaluate: {there}")
        return self

    @property
    def is_served(self) -> bool:
        """Whether the model is served elsewhere: it is profiled and evaluated, and not trained."""
        return self.generation.engine == "openai"

    @property
    def registered_model(self) -> str:
        return self.tracking.registered_model or self.name

    @property
    def run_id(self) -> str:
        """Name and a digest of the configuration: the same command always means the same run.

        What only says how fast or where something runs is left out, so that a run can be resumed with other such settings.
        """
        settings = self.result_settings()
        settings["train"] |= settings.pop("compute")  # digested as one section, as the ids in use were: an id never changes
        return f"{self.name}-{digest(settings)[:8]}"

    @property
    def max_model_tokens(self) -> int:
        """Longest prompt plus response that any stage may generate, in tokens."""
        limits = [self.profile.rollout_limit_tokens, self.train.rollout_limit_tokens, max(self.evaluate.budgets_tokens)]
        if self.validation and self.validation.limit_tokens:
            limits.append(self.validation.limit_tokens)
        return self.generation.max_prompt_tokens + max(limits)

    def control_variant(self) -> "RunConfig":
        """The control run: this configuration with the control's reward and limit; its name ends in `-control`."""
        limit = self.control.rollout_limit_tokens or self.train.rollout_limit_tokens
        changed: dict[str, Any] = {
            "name": f"{self.name}-control",
            "reward": RewardConfig(name=self.control.reward_name, target_tokens=self.reward.target_tokens),
            "train": self.train.model_copy(update={"rollout_limit_tokens": limit}),
            "control": ControlConfig(devices=self.control.devices),
            "retrain": None,
        }
        if self.tracking.registered_model:
            name = f"{self.tracking.registered_model}-control"
            changed["tracking"] = self.tracking.model_copy(update={"registered_model": name})
        return self.model_copy(update=changed)


def _with_defaults(tree: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The tree with `defaults` in every prompt source that does not have these keys."""

    def fill(source: Any) -> Any:
        return {**defaults, **source} if isinstance(source, dict) else source

    filled = dict(tree)
    for section, key in SOURCES:
        if key is None and section in filled:
            filled[section] = fill(filled[section])
        elif isinstance(filled.get(section), dict) and key in filled[section]:
            value = filled[section][key]
            filled[section] = filled[section] | {
                key: [fill(item) for item in value] if isinstance(value, list) else fill(value)
            }
    return filled
