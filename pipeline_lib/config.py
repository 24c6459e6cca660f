"""The configuration of a run: frozen models read from one TOML file, unknown keys refused.

Every section is one stage of the protocol of "The Art of Efficient Reasoning" (arXiv 2602.20945). Defaults are the paper's
where it gives a value. Lengths are in tokens, times in seconds, memory in GiB; the unit is in the key's name.
"""

import hashlib
import json
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

# Settings of a run that change no result beyond rounding.
OPERATION: dict[str, Any] = {
    "tracking": True,
    "control": {"side_by_side"},
    "train": {"num_threads", "launcher", "micro_batch_tokens"},
    "generation": {"max_num_seqs", "kv_cache_gib", "gpu_memory_utilization", "enforce_eager"},
}

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]

# The prompt suffix of the paper (protocol table).
PAPER_PROMPT_SUFFIX = "Let's think step by step and output the final answer within \\boxed{}"


class Section(BaseModel):
    """A section of the configuration: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class PromptSource(Section):
    """Where problems with a checkable answer come from: the built-in tiny world, a local file or folder, or the hub."""

    name: str = Field(description="Name under which the prompts are stored (prompts.source, budget_results.benchmark).")
    kind: Literal["tiny", "file", "hub"] = Field(description="tiny: generated; file: local Parquet/JSONL; hub: datasets.")
    family: Literal["sum", "wheel"] = Field("sum", description="tiny only: 'sum' (digits mod 10) or 'wheel' (mod 7).")
    min_operations: PositiveInt = Field(1, description="tiny only: fewest operations in a problem.")
    max_operations: PositiveInt = Field(7, description="tiny only: most operations in a problem.")
    max_operand: PositiveInt = Field(6, description="tiny only: largest operand; operands are drawn uniformly from 1.")
    path: str | None = Field(None, description="file: path of a .parquet/.jsonl file or a folder of them; hub: dataset id.")
    subset: str | None = Field(None, description="hub only: name of the dataset's configuration.")
    revision: str | None = Field(None, description="hub only: commit or tag.")
    split: str = Field(
        "train", description="hub: split to load; tiny: train, validation or test, three disjoint sets of problems."
    )
    problem_field: str = Field("problem", description="Column with the problem.")
    answer_field: str = Field("answer", description="Column with the answer.")
    id_field: str | None = Field(None, description="Column with a stable id; absent: a digest of the problem.")
    domain: str = Field("math", description="Stored as prompts.domain.")
    grader: Literal["exact", "math"] = Field("math", description="exact: string in the last box; math: math-verify.")
    num_prompts: PositiveInt | None = Field(None, description="Draw this many (seeded); absent: all.")
    seed: NonNegativeInt = Field(0, description="Seed of the draw. Train, validation and benchmark must not share one.")
    suffix: str = Field("", description="Appended to the problem, after a newline, inside the user turn.")
    enable_thinking: bool | None = Field(None, description="Passed to the chat template (Qwen3); absent: not passed.")
    response_prefix: str = Field("", description="Text that starts every response, part of the prompt (R1: '<think>\\n').")

    @model_validator(mode="after")
    def _complete(self) -> "PromptSource":
        if self.kind == "tiny":
            if self.num_prompts is None:
                raise ValueError("num_prompts is needed for kind = 'tiny', where prompts are generated")
            if self.split not in ("train", "validation", "test"):
                raise ValueError(f"split = {self.split!r} is not one of train, validation, test (kind = 'tiny')")
            if self.max_operations < self.min_operations:
                raise ValueError(f"max_operations = {self.max_operations} is below min_operations = {self.min_operations}")
        elif self.path is None:
            raise ValueError(f"path is needed for kind = '{self.kind}'")
        return self


class GenerationConfig(Section):
    """The engine that generates rollouts."""

    engine: Literal["vllm", "transformers"] = Field(
        "vllm", description="vllm is the default; transformers is the portable one."
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field("bfloat16", description="Number format of the engine.")
    max_num_seqs: PositiveInt = Field(256, description="Most sequences decoded at once.")
    max_prompt_tokens: PositiveInt = Field(2048, description="Room for the prompt beside the longest response.")
    kv_cache_gib: PositiveFloat = Field(1.0, description="CPU only: size of the key-value cache (GiB).")
    gpu_memory_utilization: Fraction = Field(
        0.45, description="GPU only: share of memory for the engine; the trainer needs the rest."
    )
    enforce_eager: bool = Field(True, description="No graph capture or compilation; always true on CPU.")
    parity_tolerance: PositiveFloat = Field(
        0.02, description="Largest |engine - trainer| log-prob after a weight sync (nats); beyond it training stops."
    )


class ProfileConfig(Section):
    """Difficulty profiling: N rollouts a prompt with the base model."""

    num_rollouts: PositiveInt = Field(8, description="Rollouts a prompt (paper: 8).")
    rollout_limit_tokens: PositiveInt = Field(16384, description="Most tokens a rollout.")
    temperature: PositiveFloat = Field(1.0, description="Sampling temperature.")
    top_p: Fraction = Field(1.0, description="Nucleus sampling; 1 is off.")


class FilterConfig(Section):
    """Which prompts are trained on. Easy: pass rate > 0.5, hard: <= 0.5 (paper, finding F3)."""

    subset: Literal["easy", "hard", "all", "band"] = Field(
        "easy", description="Class of prompts kept; band: a range of pass rates."
    )
    min_pass_rate: Fraction = Field(0.0, description="band only: lowest pass rate kept (inclusive).")
    max_pass_rate: Fraction = Field(1.0, description="band only: highest pass rate kept (inclusive).")

    @model_validator(mode="after")
    def _band(self) -> "FilterConfig":
        if self.min_pass_rate > self.max_pass_rate:
            raise ValueError(f"min_pass_rate = {self.min_pass_rate} is above max_pass_rate = {self.max_pass_rate}")
        if self.subset != "band" and (self.min_pass_rate, self.max_pass_rate) != (0.0, 1.0):
            raise ValueError(f"min_pass_rate and max_pass_rate need subset = 'band', not '{self.subset}'")
        return self


class RewardConfig(Section):
    """The length-aware reward by name (pipeline_lib.rewards.REWARDS)."""

    name: str = Field("truncation", description="Name in pipeline_lib.rewards.REWARDS.")
    target_tokens: PositiveInt = Field(4096, description="L_T: the length that counts as short (L <= L_T).")


class TrainConfig(Section):
    """GRPO as in the paper. A step is one batch of rollouts and the `staleness` optimiser steps taken on it."""

    steps: PositiveInt = Field(description="Batches of rollouts.")
    prompts_per_step: PositiveInt = Field(128, description="Prompts in a batch of rollouts (paper: 128).")
    num_rollouts: Annotated[int, Field(ge=2)] = Field(8, description="N: rollouts a prompt (paper: 8, recommended 24).")
    rollout_limit_tokens: PositiveInt = Field(16384, description="L_R: most tokens a rollout.")
    staleness: PositiveInt = Field(1, description="S: optimiser steps per batch of rollouts; 1 is on-policy.")
    temperature: PositiveFloat = Field(
        1.0, description="Sampling temperature of the rollouts, and of the log-probs trained on."
    )
    learning_rate: PositiveFloat = Field(1e-6, description="Rate of AdamW (paper: 1e-6).")
    warmup_steps: NonNegativeInt = Field(0, description="Optimiser steps of linear learning-rate warm-up.")
    adam_betas: tuple[Fraction, Fraction] = Field((0.9, 0.999), description="AdamW's decay rates of the two moments.")
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(0.0, description="AdamW's weight decay.")
    max_grad_norm: PositiveFloat = Field(1.0, description="Gradients are clipped to this norm.")
    clip_low: Fraction = Field(0.2, description="Lower clip of the importance ratio: 1 - clip_low.")
    clip_high: PositiveFloat = Field(0.28, description="Upper clip of the importance ratio: 1 + clip_high (DAPO clip-higher).")
    kl_coefficient: Annotated[float, Field(ge=0.0)] = Field(
        0.0, description="Weight of the k3 KL to the base model; the paper uses none."
    )
    measure_kl: bool = Field(
        False, description="Record the k3 KL to the base model: one more forward pass and model in memory."
    )
    micro_batch_tokens: PositiveInt = Field(16384, description="Padded tokens in one forward and backward pass.")
    precision: Literal["float32", "bfloat16"] = Field("bfloat16", description="bfloat16 keeps float32 master weights.")
    zero_stage: Literal[1, 2, 3] = Field(1, description="DeepSpeed ZeRO stage (0 reports no gradient norm in fp32).")
    gradient_checkpointing: bool = Field(False, description="Recompute activations instead of keeping them: less memory.")
    launcher: Literal["torch", "deepspeed"] = Field(
        "torch", description="torch: torch.distributed.run; deepspeed: its own launcher."
    )
    num_processes: PositiveInt = Field(1, description="World size: one process a GPU, each with its own engine.")
    num_threads: PositiveInt = Field(1, description="CPU threads of each worker process, for generation and training alike.")

    @model_validator(mode="after")
    def _divisible(self) -> "TrainConfig":
        if self.prompts_per_step % (self.staleness * self.num_processes):
            raise ValueError(
                f"staleness = {self.staleness} times num_processes = {self.num_processes} does not divide prompts_per_step = "
                f"{self.prompts_per_step}: the optimiser steps of a batch, and the processes, share its prompts equally"
            )
        return self


class CheckpointConfig(Section):
    """When the whole state of training is saved, and which checkpoints are kept."""

    every_steps: PositiveInt = Field(20, description="A checkpoint, and a validation, every this many steps and at the end.")
    keep_last: PositiveInt = Field(2, description="Newest checkpoints kept beside the best.")


class ValidationConfig(Section):
    """Held-out prompts on which checkpoints are compared during training, at budget L_T."""

    source: PromptSource
    num_samples: PositiveInt = Field(1, description="Samples a prompt.")


class EvaluateConfig(Section):
    """The budget sweep: one generation at the largest budget, scored at every budget."""

    benchmarks: tuple[PromptSource, ...] = Field(
        min_length=1, description="What the models are judged on; the first is in front."
    )
    budgets_tokens: tuple[PositiveInt, ...] = Field(
        (2048, 4096, 8192, 16384, 32768), min_length=1, description="Token budgets, rising; the largest is generated."
    )
    num_samples: PositiveInt = Field(8, description="k: samples a prompt, for Mean@k and Pass@k (paper: 8).")
    temperature: PositiveFloat = Field(1.0, description="Sampling temperature.")
    top_p: Fraction = Field(1.0, description="Nucleus sampling; 1 is off.")
    bootstrap_resamples: PositiveInt = Field(2000, description="Resamples over prompts for the 95 % intervals.")

    @model_validator(mode="after")
    def _ordered(self) -> "EvaluateConfig":
        if list(self.budgets_tokens) != sorted(set(self.budgets_tokens)):
            raise ValueError(f"budgets_tokens = {list(self.budgets_tokens)} must rise without repeats")
        names = [benchmark.name for benchmark in self.benchmarks]
        if len(names) != len(set(names)):
            raise ValueError(f"benchmarks = {names} must have different names")
        return self


class ControlConfig(Section):
    """A second run of its own without pressure on length, so that a change can be credited to the length reward."""

    enabled: bool = Field(False, description="Train the control as well.")
    reward_name: str = Field("vanilla", description="The control's reward; vanilla looks at correctness only.")
    rollout_limit_tokens: PositiveInt | None = Field(
        None,
        description="The control's L_R; absent: the run's. With L_R = L_T the limit itself is the pressure, so give a larger one.",
    )
    side_by_side: bool = Field(True, description="Train run and control at the same time; on a single GPU set this to false.")


class TrackingConfig(Section):
    """MLflow."""

    enabled: bool = Field(True, description="Send runs, metrics and models to MLflow.")
    uri: str | None = Field(None, description="Tracking server; absent: MLFLOW_TRACKING_URI, else mlflow.db in LACONIC_HOME.")
    experiment: str = Field("laconic", description="Name of the MLflow experiment.")
    registered_model: str | None = Field(None, description="Name in the model registry; absent: the run's name.")
    timeout_seconds: PositiveFloat = Field(10.0, description="How long one call may take before it is put off.")


class RunConfig(Section):
    """One complete, self-contained run: profile, filter, train, checkpoint, evaluate, register, report."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="Name of the run: lower case, digits, '.', '_', '-'.")
    seed: NonNegativeInt = Field(0, description="Fixes the draws of prompts and rollouts.")
    base_model: str = Field(description="Model folder, hub id, or 'builtin:tiny' (the base that ships with the package).")
    model_revision: str | None = Field(None, description="Hub only: commit or tag of the base model.")
    prompts: PromptSource
    generation: GenerationConfig = GenerationConfig()
    profile: ProfileConfig = ProfileConfig()
    filter: FilterConfig = FilterConfig()
    reward: RewardConfig = RewardConfig()
    train: TrainConfig
    checkpoint: CheckpointConfig = CheckpointConfig()
    validation: ValidationConfig | None = Field(None, description="Absent: the last checkpoint counts as the best.")
    evaluate: EvaluateConfig
    control: ControlConfig = ControlConfig()
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
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

    @property
    def run_id(self) -> str:
        """Name and a digest of the configuration: the same command always means the same run.

        What only says how fast or where something runs is left out, so that a run can go on with other such settings.
        """
        return f"{self.name}-{digest(self.model_dump(mode='json', exclude=OPERATION))[:8]}"

    @property
    def max_model_tokens(self) -> int:
        """Longest prompt plus response that any stage may generate, in tokens."""
        limits = (self.profile.rollout_limit_tokens, self.train.rollout_limit_tokens, max(self.evaluate.budgets_tokens))
        return self.generation.max_prompt_tokens + max(limits)

    def control_variant(self) -> "RunConfig":
        """The control run: this configuration with the control's reward and limit; its name ends in `-control`."""
        limit = self.control.rollout_limit_tokens or self.train.rollout_limit_tokens
        changed: dict[str, Any] = {
            "name": f"{self.name}-control",
            "reward": self.reward.model_copy(update={"name": self.control.reward_name}),
            "train": self.train.model_copy(update={"rollout_limit_tokens": limit}),
            "control": ControlConfig(),
        }
        if self.tracking.registered_model:
            name = f"{self.tracking.registered_model}-control"
            changed["tracking"] = self.tracking.model_copy(update={"registered_model": name})
        return self.model_copy(update=changed)


class WarmupConfig(Section):
    """Supervised warm-up (SFT) of the built-in tiny model: recipe and gate of the measured tiny world."""

    name: str = Field("tiny", pattern=r"^[a-z0-9][a-z0-9._-]*$", description="Name of the base.")
    seed: NonNegativeInt = Field(0, description="Fixes corpus, order and initial weights.")
    train_tokens: PositiveInt = Field(1_900_000, description="Prompt and response tokens seen in all.")
    step_tokens: PositiveInt = Field(600, description="Padded tokens an optimiser step.")
    learning_rate: PositiveFloat = Field(2e-3, description="Peak rate of AdamW.")
    warmup_steps: NonNegativeInt = Field(50, description="Steps of linear warm-up.")
    flat_fraction: Fraction = Field(0.6, description="Share of training at full rate before the linear decay to 2 %.")
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(0.05, description="On matrices only.")
    adam_betas: tuple[Fraction, Fraction] = Field((0.9, 0.98), description="AdamW's decay rates of the two moments.")
    curriculum_fraction: Fraction = Field(0.12, description="First share of the tokens: short problems, counted only.")
    max_operations: PositiveInt = Field(7, description="Most operations in a problem.")
    max_operand: PositiveInt = Field(6, description="Largest operand.")
    operations_decay: Fraction = Field(0.85, description="Corpus p(k) is proportional to this to the power k.")
    operand_decay: Fraction = Field(0.65, description="Corpus p(d) is proportional to this to the power d - 1.")
    wheel_fraction: Fraction = Field(0.2, description="Share of the corpus from the second family.")
    style_weights: dict[Literal["count", "verbose", "table", "fold", "skip"], Fraction] = Field(
        {"count": 0.29, "verbose": 0.44, "table": 0.22, "fold": 0.03, "skip": 0.02},
        description="How often each style of trace is drawn.",
    )
    max_response_tokens: PositiveInt = Field(224, description="Longer traces are drawn anew.")
    hidden_size: PositiveInt = Field(128, description="Width of the model.")
    num_layers: PositiveInt = Field(3, description="Layers of the model.")
    intermediate_size: PositiveInt = Field(384, description="Width of the feed-forward layers.")
    num_heads: PositiveInt = Field(4, description="Attention heads.")
    num_key_value_heads: PositiveInt = Field(2, description="Heads of keys and values.")
    head_dim: PositiveInt = Field(32, description="Width of a head.")
    num_threads: PositiveInt = Field(1, description="CPU threads.")
    gate_problems: PositiveInt = Field(420, description="Problems sampled for the gate, k and operands uniform.")
    min_count_line_accuracy: Fraction = Field(0.97, description="Gate: right lines of the count style.")
    min_table_line_accuracy: Fraction = Field(0.75, description="Gate: right lines of the table style, at least.")
    max_table_line_accuracy: Fraction = Field(0.92, description="Gate: at most, else no trade-off is left.")


ConfigT = TypeVar("ConfigT", bound=Section)


@overload
def load_config(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> RunConfig: ...
@overload
def load_config(path: str | Path, overrides: list[str] | tuple[str, ...] = (), *, model: type[ConfigT]) -> ConfigT: ...
def load_config(path: str | Path, overrides: list[str] | tuple[str, ...] = (), *, model: type[Any] = RunConfig) -> Any:
    """Read a TOML file, apply `section.key=value` overrides (values in TOML syntax, bare words as text), validate.

    Raises ValueError naming the file, the key, the value and what is allowed.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no configuration file at {path}")
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from error
    for override in overrides:
        apply_override(tree, override)
    return parse_config(tree, model, origin=str(path))


def parse_config(tree: dict[str, Any], model: type[ConfigT], origin: str = "configuration") -> ConfigT:
    """Validate a tree of plain values. Raises ValueError with one line a problem."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors()]
        raise ValueError(f"{origin}: " + "; ".join(lines)) from error


def _explain(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"]) or "(whole file)"
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key} = {problem['input']!r}"
    if problem["type"] == "missing":
        return f"missing key {key}"
    message = problem["msg"].removeprefix("Value error, ")
    return message if isinstance(problem["input"], dict) else f"{key} = {problem['input']!r}: {message}"


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Set one `section.key=value` in place; list items by number (`evaluate.benchmarks.0.num_prompts=50`)."""
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ValueError(f"override {override!r} is not of the form section.key=value")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    node: Any = tree
    for part in parts[:-1]:
        node = _child(node, part, override)
    if isinstance(node, list):
        node[_list_index(node, parts[-1], override)] = value
    elif isinstance(node, dict):
        node[parts[-1]] = value
    else:
        raise ValueError(f"override {override!r}: {'.'.join(parts[:-1])} is not a section")


def _child(node: Any, part: str, override: str) -> Any:
    if isinstance(node, list):
        return node[_list_index(node, part, override)]
    if isinstance(node, dict):
        return node.setdefault(part, {})
    raise ValueError(f"override {override!r}: nothing lies below {part!r}")


def _list_index(node: list[Any], part: str, override: str) -> int:
    if not part.isdigit() or int(part) >= len(node):
        raise ValueError(f"override {override!r}: {part!r} is not one of the items 0..{len(node) - 1}")
    return int(part)


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def laconic_home() -> Path:
    """The folder that holds everything a user's runs leave: `LACONIC_HOME`, by default `./artifacts`, absolute."""
    return Path(os.environ.get("LACONIC_HOME", "artifacts")).expanduser().resolve()
