"""What a run profiles, selects and judges: the sections of the stages that do not train."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline_lib.config.published import PublishedConfig
from pipeline_lib.config.sources import PromptSource
from pipeline_lib.section import (
    CountsWhereGiven,
    Fraction,
    PositiveFloat,
    PositiveInt,
    Section,
)


class ProfileConfig(Section):
    """Difficulty profiling: N rollouts per prompt with the base model, or what is known from elsewhere."""

    origin: Literal["sampled", "recorded", "imported"] = Field(
        "sampled",
        description="sampled: by the base model; recorded: prompts.pass_rate_field; imported: judged from rollouts_file.",
    )
    rollouts_file: str | None = Field(
        None, description="imported only: Parquet/JSONL/CSV with a row per rollout: problem (or prompt_id), response, tokens."
    )
    num_rollouts: PositiveInt = Field(8, description="Rollouts per prompt (paper: 8).")
    rollout_limit_tokens: PositiveInt = Field(16384, description="Most tokens of a rollout.")
    temperature: PositiveFloat = Field(1.0, description="Sampling temperature.")
    top_p: Fraction = Field(1.0, description="Nucleus sampling; 1 is off.")

    @model_validator(mode="after")
    def _imported(self) -> "ProfileConfig":
        if (self.origin == "imported") != (self.rollouts_file is not None):
            raise ValueError("origin = 'imported' and rollouts_file are needed together")
        return self


class CleaningConfig(Section):
    """What is taken out of the training prompts before any pass rate counts."""

    enabled: bool = Field(True, description="Clean the training prompts; generated prompts (kind = 'tiny') need none.")
    duplicates: bool = Field(True, description="Of prompts with the same normalised text keep the first.")
    conflicting_answers: bool = Field(True, description="Drop all prompts with the same text and answers that differ.")
    pictures: bool = Field(True, description="Drop problems that need a picture which the text does not give.")
    decontaminate: bool = Field(True, description="Drop prompts that overlap with a configured benchmark or the validation.")
    ngram_words: PositiveInt = Field(13, description="Length of the word n-grams compared with the benchmarks.")
    ngram_overlap: Fraction = Field(0.5, description="Share of a benchmark problem's n-grams in one prompt that drops it.")
    benchmarks: tuple[PromptSource, ...] = Field(
        (), description="Further benchmarks to stay clear of, beside those of evaluate and validation."
    )


class FilterConfig(Section):
    """Which prompts are trained on. Easy: pass rate > 0.5, hard: <= 0.5 (paper, finding F3)."""

    subset: Literal["easy", "hard", "all", "band"] = Field(
        "easy", description="Class of prompts kept; band: a range of pass rates."
    )
    min_pass_rate: Fraction = Field(0.0, description="band only: lowest pass rate kept (inclusive).")
    max_pass_rate: Fraction = Field(1.0, description="band only: highest pass rate kept (inclusive).")
    cleaning: CleaningConfig = CleaningConfig()

    @model_validator(mode="after")
    def _band(self) -> "FilterConfig":
        if self.min_pass_rate > self.max_pass_rate:
            raise ValueError(f"min_pass_rate = {self.min_pass_rate} is above max_pass_rate = {self.max_pass_rate}")
        if self.subset != "band" and (self.min_pass_rate, self.max_pass_rate) != (0.0, 1.0):
            raise ValueError(f"min_pass_rate and max_pass_rate need subset = 'band', not '{self.subset}'")
        return self


class EvaluateConfig(Section):
    """The budget sweep: one generation at the largest budget, scored at every budget."""

    benchmarks: tuple[PromptSource, ...] = Field(
        min_length=1, description="What the models are judged on; the first is in front."
    )
    budgets_tokens: tuple[PositiveInt, ...] = Field(
        (2048, 4096, 8192, 16384, 32768), min_length=1, description="Token budgets, rising; the largest is generated."
    )
    num_samples: PositiveInt = Field(8, description="k: samples per prompt, for Mean@k and Pass@k (paper: 8).")
    temperature: PositiveFloat = Field(1.0, description="Sampling temperature.")
    top_p: Fraction = Field(1.0, description="Nucleus sampling; 1 is off.")
    bootstrap_resamples: PositiveInt = Field(2000, description="Resamples over prompts for the 95 % intervals.")
    checkpoints: Literal["best_and_last", "last", "all"] = Field(
        "best_and_last", description="Checkpoints evaluated beside the base; all: every one that was kept."
    )
    published: CountsWhereGiven[PublishedConfig | None] = Field(
        None, description="Absent: the run's own checkpoints are judged; `laconic evaluate` alone judges a published model."
    )

    @model_validator(mode="after")
    def _ordered(self) -> "EvaluateConfig":
        if list(self.budgets_tokens) != sorted(set(self.budgets_tokens)):
            raise ValueError(f"budgets_tokens = {list(self.budgets_tokens)} must rise without repeats")
        names = [benchmark.name for benchmark in self.benchmarks]
        if len(names) != len(set(names)):
            raise ValueError(f"benchmarks = {names} must have different names")
        published = self.published
        for row in published.reported if published else ():
            if row.benchmark not in names or row.step not in (0, published and published.step):
                raise ValueError(f"published.reported: {row.benchmark} at step {row.step} is not what is judged")
        return self
