"""The supervised warm-up of the built-in tiny model."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline_lib.section import Fraction, Name, NonNegativeInt, PositiveFloat, PositiveInt, Section


class WarmupConfig(Section):
    """Supervised warm-up (SFT) of the built-in tiny model: recipe and gate of the measured tiny world."""

    name: Name = Field("tiny", description="Name of the base.")
    seed: NonNegativeInt = Field(0, description="Fixes corpus, order and initial weights.")
    train_tokens: PositiveInt = Field(1_900_000, description="Prompt and response tokens seen in all.")
    step_tokens: PositiveInt = Field(600, description="Padded tokens per optimiser step.")
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
