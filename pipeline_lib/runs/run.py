"""What a run is: a configuration, its id, and where in the home its files lie. Nothing here works on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline_lib.config import RunConfig, laconic_home, stored_config
from pipeline_lib.files.home import below
from pipeline_lib.runs.base_model import BaseModel, pinned, resolve_base_model


@dataclass(frozen=True)
class Run:
    """One run of the pipeline; `control_of` is the run that this one is the control of."""

    config: RunConfig
    run_id: str
    home: Path
    control_of: str | None = None

    @classmethod
    def of(cls, config: RunConfig, control_of: str | None = None) -> "Run":
        """The run that a configuration describes, in the home of this process."""
        return cls(config, config.run_id, laconic_home(), control_of)

    @classmethod
    def stored(cls, row: Mapping[str, Any]) -> "Run":
        """A run from its row of `runs`. Raises ValueError for a configuration that cannot be read.

        Its id is the row's: a setting that came since would give the same configuration another.
        """
        return cls(stored_config(row["config"], RunConfig), row["run_id"], laconic_home(), row["control_of"])

    @cached_property
    def base(self) -> BaseModel:
        return resolve_base_model(self.config)

    @cached_property
    def published(self) -> BaseModel | None:
        """The model that is judged beside the base in place of the run's checkpoints."""
        published = self.config.evaluate.published
        named = published and {"base_model": published.model, "model_revision": published.revision}
        return resolve_base_model(self.config.model_copy(update=named)) if named else None

    def rollouts_folder(self, stage: str) -> Path:
        return below(self.home, "rollouts", self.run_id, stage)

    def training_folder(self) -> Path:
        """Prompts and step metrics that go between the train stage and the worker."""
        return below(self.home, "training", self.run_id)

    def checkpoints_folder(self) -> Path:
        return below(self.home, "checkpoints", self.run_id)

    def report_folder(self) -> Path:
        return below(self.home, "reports", self.run_id)


def runs_of(config: RunConfig) -> list[Run]:
    """The run of a configuration, its base model pinned to a version, followed by its control when there is one."""
    settings = pinned(config)
    run = Run.of(settings)
    has_control = settings.control.enabled and not settings.is_served
    return [run, Run.of(settings.control_variant(), control_of=run.run_id)] if has_control else [run]
