"""The table of stages, in their order: flows, commands and deployments of stages are made from it.

Each stage is a module `pipeline_lib/stages/NAME.py` with an object `STAGE` (`stages.stage`); `stages.runner` runs it. The table is
light: the module of a stage is imported on first use.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pipeline_lib.config import RunConfig
    from pipeline_lib.stages.stage import Stage


@dataclass(frozen=True, slots=True)
class StageEntry:
    """A line of the table. `help` describes its flow and its command; `runs` says how a run and its control are worked on.

    One that `trains` is for a model whose weights are here.
    """

    name: str
    help: str
    uses_engine: bool = False
    runs: Literal["in turn", "side by side", "together"] = "in turn"
    trains: bool = False

    def require_possible(self, config: "RunConfig") -> None:
        """Raise ValueError for a stage that a model which is served elsewhere cannot go through."""
        if self.trains and config.is_served:
            raise ValueError(
                f"generation.engine = 'openai': {config.base_model} is served elsewhere, and is profiled, filtered by and evaluated, "
                f"not trained; {self.name} needs the weights of a model here"
            )

    @property
    def stage(self) -> "Stage[Any]":
        """What does the work, imported on first use."""
        stage: Stage[Any] = import_module(f"{__name__}.{self.name}").STAGE
        return stage


_TABLE = (
    StageEntry("profile", "Sample N rollouts per prompt with the base model and store the pass rates.", uses_engine=True),
    StageEntry("filter", "Select the training prompts by their pass rate."),
    StageEntry(
        "train",
        "Train with the length-aware reward; an interrupted training run resumes from its newest checkpoint.",
        uses_engine=True,
        runs="side by side",
        trains=True,
    ),
    StageEntry("evaluate", "Score the base and the trained models at every token budget.", uses_engine=True, runs="together"),
    StageEntry("register", "Register the best checkpoint in MLflow under the alias 'challenger'.", trains=True),
    StageEntry("report", "Write the report of the run beside its control.", runs="together"),
)
STAGES = {entry.name: entry for entry in _TABLE}
