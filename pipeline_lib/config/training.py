"""How a run trains: GRPO's settings, the watch over the dynamics, checkpoints and held-out prompts."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline_lib.config.sources import PromptSource
from pipeline_lib.section import (
    ChangesNoResult,
    CountsWhereGiven,
    Fraction,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Section,
)

AdvantageEstimator = Literal["grpo", "mean", "rloo", "batch_whitened"]
NegativeStrategy = Literal["vanilla", "-I", "-L&C", "-L&C-S&I", "-L&C-L&I", "L_R=L_T"]
LossAggregation = Literal["token_mean", "sequence_mean", "dr_grpo"]


class LoraConfig(Section):
    """LoRA: the model's own weights stay as they are, and low-rank adapters beside its linear layers are trained instead.

    For a card that the gradients and the optimiser of the whole model do not fit. A layer adds alpha / rank * B A x to its own
    output. Give a learning rate about ten times that of whole weights.
    """

    rank: PositiveInt = Field(32, description="Rows of A and columns of B: the rank of what a layer can learn.")
    alpha: PositiveInt = Field(32, description="What a layer has learned is added times alpha / rank.")
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0, description="Share of an adapter's inputs left out in the passes that give gradients."
    )
    target_modules: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear",
        description="Layers with an adapter, by the last part of their names (q_proj, down_proj, ...); all-linear: every linear "
        "layer of the model's blocks.",
    )


class TrainConfig(Section):
    """GRPO as in the paper: N rollouts of each prompt, rewarded against the others of their group.

    A step is one batch of rollouts, sampled from the current policy up to L_R tokens, and the S = `staleness` optimiser steps
    taken on it. The reward ([reward]) scores a rollout by correctness and length; its advantage is that score beside those of
    its group: above zero its tokens become more likely, below zero less. The loss multiplies the advantage by the token's
    importance ratio, clipped so that the policy stays near the one that sampled; a KL to the base model is optional.
    """

    # Sampling: the batch of rollouts.
    steps: PositiveInt = Field(description="Batches of rollouts.")
    prompts_per_step: PositiveInt = Field(
        128, description="Prompts in a batch of rollouts (paper: 128): no more than the filter keeps."
    )
    num_rollouts: Annotated[int, Field(ge=2)] = Field(8, description="N: rollouts per prompt (paper: 8, recommended 24).")
    rollout_limit_tokens: PositiveInt = Field(16384, description="L_R: most tokens of a rollout.")
    temperature: PositiveFloat = Field(
        1.0, description="Sampling temperature of the rollouts, and of the log-probs trained on."
    )
    dynamic_sampling_batches: NonNegativeInt = Field(
        0,
        description="Most further batches drawn to replace groups whose shaped rewards are all equal (DAPO), as long as there are "
        "prompts that the step has not seen; 0 is off.",
    )

    # Credit: which rollouts count, and what each is worth beside the others of its group.
    advantage: AdvantageEstimator = Field(
        "grpo",
        description="grpo: (r - mean) / std of the group; mean: r - mean; rloo: r - mean of the others; batch_whitened: r - mean, "
        "scaled over the whole batch (DLER).",
    )
    negative_rollouts: NegativeStrategy = Field(
        "vanilla",
        description="Table 1 of the paper: which rollouts stay out of the loss. I incorrect, C correct, L longer than L_T, S not; "
        "L_R=L_T: none, but sampling stops at L_T.",
    )
    masked_in_baseline: bool = Field(
        True, description="Rollouts kept out of the loss still count in the mean and std of their group."
    )
    overlong_filtering: bool = Field(False, description="Keep rollouts that were cut at L_R out of the loss (DAPO).")

    # Objective: the loss of a token, and how tokens are weighed together.
    objective: Literal["clip", "cispo"] = Field(
        "clip", description="clip: PPO's clipped surrogate; cispo: policy gradient weighted by the capped, detached ratio."
    )
    importance_ratio: Literal["token", "sequence"] = Field(
        "token", description="token: one ratio per token; sequence: the geometric mean over the rollout (GSPO)."
    )
    clip_low: Fraction = Field(0.2, description="Lower clip of the importance ratio: 1 - clip_low.")
    clip_high: PositiveFloat = Field(0.28, description="Upper clip of the importance ratio: 1 + clip_high (DAPO clip-higher).")
    dual_clip: Annotated[float, Field(gt=1.0)] | None = Field(
        None, description="Lower bound c of the gain at negative advantage: max(gain, c * A); absent: off."
    )
    engine_ratio_cap: PositiveFloat | None = Field(
        None,
        description="Truncated importance correction: each token weighs min(trainer / engine probability, cap); absent: off.",
    )
    loss_aggregation: LossAggregation = Field(
        "token_mean",
        description="token_mean: over all tokens of the step; sequence_mean: over rollouts of their token means (GRPO as first "
        "published); dr_grpo: token sums over rollouts times L_R.",
    )
    kl_coefficient: Annotated[float, Field(ge=0.0)] = Field(
        0.0, description="Weight of the k3 KL to the base model; the paper uses none."
    )
    measure_kl: bool = Field(
        False, description="Record the k3 KL to the base model: one more forward pass and model in memory."
    )

    # Optimiser: the S steps that a batch is shared among.
    staleness: PositiveInt = Field(1, description="S: optimiser steps per batch of rollouts; 1 is on-policy.")
    batches_ahead: CountsWhereGiven[NonNegativeInt] = Field(
        0,
        description="A: batches that may be generated before the ones ahead of them are trained on (fleet.kind = 'ray'); a rollout "
        "is then up to A S + S - 1 optimiser steps old. 0 is on-policy.",
    )
    learning_rate: PositiveFloat = Field(1e-6, description="Rate of AdamW (paper: 1e-6).")
    warmup_steps: NonNegativeInt = Field(0, description="Optimiser steps of linear learning-rate warm-up.")
    adam_betas: tuple[Fraction, Fraction] = Field((0.9, 0.999), description="AdamW's decay rates of the two moments.")
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(0.0, description="AdamW's weight decay.")
    max_grad_norm: PositiveFloat = Field(1.0, description="Gradients are clipped to this norm.")
    lora: CountsWhereGiven[LoraConfig | None] = Field(None, description="Adapters (LoRA) are trained; absent: the whole model.")

    @model_validator(mode="after")
    def _corrected_for_age(self) -> "TrainConfig":
        if self.batches_ahead and self.engine_ratio_cap is None:
            raise ValueError(
                f"batches_ahead = {self.batches_ahead} trains on rollouts of older weights: set engine_ratio_cap, such as 2.0"
            )
        if self.batches_ahead and self.dynamic_sampling_batches:
            raise ValueError(
                "batches_ahead and dynamic_sampling_batches exclude each other: which batch is next is not known ahead"
            )
        return self

    @model_validator(mode="after")
    def _compatible(self) -> "TrainConfig":
        if self.objective == "cispo" and self.dual_clip is not None:
            raise ValueError(
                f"dual_clip = {self.dual_clip} has no meaning under objective = 'cispo': leave it out, or use 'clip'"
            )
        return self


AlarmAction = Literal["ignore", "warn", "stop", "roll_back"]
# Those that may intervene; that of engine and trainer drifting apart only warns.
ALARM_KINDS = ("entropy_spike", "length_collapse", "length_rebound", "reward_starvation")


class WatchConfig(Section):
    """The watch over the training dynamics: when an alarm is raised, and what it does (docs/dynamics.md)."""

    window_steps: PositiveInt = Field(10, description="Steps whose median is compared, so that single steps do not count.")
    hold_steps: PositiveInt = Field(3, description="Alarm when a condition has held for this many steps in a row.")
    entropy_spike: AlarmAction = Field("warn", description="Entropy has grown far above its recent level.")
    entropy_spike_factor: Annotated[float, Field(gt=1.0)] = Field(
        2.0,
        description="Alarm when entropy exceeds the lower of its first and its lowest recent level times this, and the first.",
    )
    entropy_spike_lookback_steps: PositiveInt = Field(
        100, description="Steps that are recent: what takes longer to grow is the slow rise of reasoning refinement (F1)."
    )
    entropy_spike_floor: Annotated[float, Field(ge=0.0)] = Field(
        0.02, description="Entropy (nats per token) below which no spike is called."
    )
    length_collapse: AlarmAction = Field("warn", description="Responses get short while accuracy falls.")
    length_collapse_fraction: Fraction = Field(
        0.7, description="Alarm when length falls below this share of its longest level and accuracy is lost."
    )
    length_collapse_accuracy_fraction: Fraction = Field(
        0.6, description="Accuracy is lost when it is below this share of its best level."
    )
    length_collapse_accuracy_drop: Fraction = Field(
        0.1, description="Accuracy is not lost before it has fallen by this much (0-1): small rates are noisy."
    )
    length_rebound: AlarmAction = Field("warn", description="Responses grow again after they had become short.")
    length_rebound_factor: Annotated[float, Field(gt=1.0)] = Field(
        1.3, description="Alarm when length exceeds its shortest level times this."
    )
    length_rebound_fall: Fraction = Field(
        0.25, description="Share of its length that a run must have lost before growth is a rebound."
    )
    reward_starvation: AlarmAction = Field("warn", description="Next to no rollout earns a positive reward.")
    reward_starvation_fraction: Fraction = Field(
        0.1, description="Alarm when the share of rollouts with a positive reward is below this."
    )
    engine_gap: ChangesNoResult[Literal["ignore", "warn"]] = Field(
        "warn", description="Engine and trainer drift apart: the mean k3 of the sampled tokens has grown."
    )
    engine_gap_factor: ChangesNoResult[Annotated[float, Field(gt=1.0)]] = Field(
        1.5, description="Alarm when the mean k3 exceeds its first level times this, and 0.0001."
    )
    max_roll_backs: NonNegativeInt = Field(
        1, description="roll_back: how often the best checkpoint is restored before training stops instead."
    )
    roll_back_learning_rate_factor: PositiveFloat = Field(
        0.5, description="roll_back: the learning rate is multiplied by this each time."
    )

    @property
    def intervenes(self) -> bool:
        """Whether any alarm does more than warn."""
        return self.rolls_back or "stop" in map(self.action, ALARM_KINDS)

    @property
    def rolls_back(self) -> bool:
        """Whether any alarm restores the best checkpoint."""
        return "roll_back" in map(self.action, ALARM_KINDS)

    def action(self, kind: str) -> AlarmAction:
        action: AlarmAction = getattr(self, kind)
        return action


class CheckpointConfig(Section):
    """When the whole state of training is saved, and which checkpoints are kept."""

    every_steps: PositiveInt = Field(20, description="A checkpoint, and a validation, every this many steps and at the end.")
    every_minutes: ChangesNoResult[PositiveFloat | None] = Field(
        None,
        description="Beside those, a checkpoint without validation after the first step that ends this long after the last one, to "
        "resume from; only the newest of these is kept. Absent: none.",
    )
    keep_last: PositiveInt = Field(2, description="Newest checkpoints kept beside the best.")


class ValidationConfig(Section):
    """Held-out prompts on which checkpoints are compared during training, at budget L_T."""

    source: PromptSource
    num_samples: PositiveInt = Field(1, description="Samples per prompt.")
    limit_tokens: PositiveInt | None = Field(
        None, description="Most tokens of a sample, where accuracy beyond L_R is to be seen, too; absent: L_R."
    )
