"""The evaluation of rollouts that were generated elsewhere."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline_lib.config.loading import apply_override, include_sources, load_config, parse_config
from pipeline_lib.config.prices import PricesConfig
from pipeline_lib.config.sources import AnswerSettings, PromptSource
from pipeline_lib.files.home import digest
from pipeline_lib.section import ChangesNoResult, Name, NonNegativeInt, PositiveInt, name_from


class RecordedConfig(AnswerSettings):
    """A budget sweep of recorded rollouts: a file with a row per rollout, judged by our grader."""

    name: Name = Field(description="Name of the run: lower case, digits, '.', '_', '-'.")
    rollouts_file: str = Field(description="Parquet, JSONL or CSV; the columns are described in docs/data.md.")
    grader: Literal["exact", "math", "choice"] = Field(
        "math", description="For the file's own gold answers; sources have theirs."
    )
    sources: tuple[PromptSource, ...] = Field(
        (),
        description="Benchmarks that know the gold answers, by their names in the file (a file's 'MATH 500' is math-500); needed "
        "when the file has none.",
    )
    only_models: tuple[str, ...] = Field((), description="Only these models of the file; empty: all.")
    only_benchmarks: tuple[str, ...] = Field((), description="Only these benchmarks of the file; empty: all.")
    budgets_tokens: tuple[PositiveInt, ...] = Field(
        (2048, 4096, 8192, 16384, 32768), min_length=1, description="Token budgets, rising."
    )
    bootstrap_resamples: PositiveInt = Field(2000, description="Resamples over prompts for the 95 % intervals.")
    seed: NonNegativeInt = Field(0, description="Seed of the bootstrap.")
    prices: ChangesNoResult[PricesConfig] = PricesConfig()

    @model_validator(mode="after")
    def _ordered(self) -> "RecordedConfig":
        if list(self.budgets_tokens) != sorted(set(self.budgets_tokens)):
            raise ValueError(f"budgets_tokens = {list(self.budgets_tokens)} must rise without repeats")
        names = [source.name for source in self.sources]
        if len(names) != len(set(names)):
            raise ValueError(f"sources = {names} must have different names")
        return self

    def run_id(self, file_digest: str) -> str:
        """Name and a digest of the settings and of the file's content."""
        settings = self.result_settings({"rollouts_file"})
        return f"{self.name}-{digest([settings, file_digest])[:8]}"


def recorded_config(
    rollouts_file: str, config: str | None = None, overrides: list[str] | tuple[str, ...] = ()
) -> RecordedConfig:
    """The evaluation of a file of rollouts: our defaults, or budgets, seed and benchmarks of a run's configuration.

    `overrides` are `key=value` of RecordedConfig. Raises ValueError for a configuration or override at fault.
    """
    name = name_from(Path(rollouts_file).stem) or "rollouts"
    tree: dict[str, Any] = {"name": name, "rollouts_file": rollouts_file}
    folder = Path.cwd()
    if config is not None:
        run = load_config(config)
        tree |= {
            "budgets_tokens": list(run.evaluate.budgets_tokens),
            "bootstrap_resamples": run.evaluate.bootstrap_resamples,
            "seed": run.seed,
            "prices": run.prices.model_dump(),
            "sources": [source.model_dump(mode="json") for source in run.evaluate.benchmarks],
        }
        folder = Path(config).parent
    for override in overrides:
        apply_override(tree, override)
    return parse_config(include_sources(tree, folder), RecordedConfig, origin=f"evaluation of {rollouts_file}")
