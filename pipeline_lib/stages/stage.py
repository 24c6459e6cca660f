"""What every stage is made of: its units and their fingerprints, what is done, the work, and what is told of it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from pipeline_lib.config import RunConfig
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages.display import Display

Summary = dict[str, Any]


class Postponed(Summary):
    """The summary of a stage that could not be done this time, such as with MLflow out of reach: it is not recorded as done."""


@dataclass(frozen=True, eq=False)
class Unit:
    """What is done or not: most often the stage of a run as a whole (`name` is empty).

    `fingerprint` is the digest of what its result depends on. `beside` are the runs that it is seen beside.
    """

    session: RunSession
    fingerprint: str
    name: str = ""
    beside: Sequence[RunSession] = ()


U = TypeVar("U", bound=Unit)


class Stage(ABC, Generic[U]):
    """A stage; the docstring of each is what its deployment says."""

    name: ClassVar[str]
    # Done each time, from whatever is stored: it takes seconds.
    repeats: ClassVar[bool] = False
    # The work leaves files one by one: until they are all there, the record of older ones must not stand.
    leaves_files: ClassVar[bool] = True
    # A result of another run for the same inputs is taken over.
    takes_over: ClassVar[bool] = True
    # MLflow and the pages are told of every run, also of one whose results were all there.
    always_tells: ClassVar[bool] = False

    @abstractmethod
    def units(self, sessions: Sequence[RunSession]) -> list[U]:
        """What there is to do for some runs, whether it is done already or not."""

    def is_forced(self, session: RunSession) -> bool:
        """Whether the stage of a run is done again whatever is stored."""
        return session.force

    def find_done(self, unit: U) -> dict[str, Any] | None:
        """The stored result of a unit, of its run or of another with the same inputs; None when it is to be done."""
        if self.repeats or self.is_forced(unit.session):
            return None
        stored = unit.session.ledger.stage_result(self.name, unit.name, unit.fingerprint)
        is_usable = stored and (self.takes_over or stored["run_id"] == unit.session.run.run_id)
        return stored if is_usable else None

    def prepare(self, units: Sequence[U], todo: Sequence[U], display: Display) -> None:
        """Clear what belongs to no unit, and do what is done once for all that is to do."""

    @abstractmethod
    def work(self, unit: U, display: Display) -> Summary:
        """Do a unit, write its rows, and sum it up. Raises ValueError that names the stage to run first."""

    def take_over(self, unit: U, owner: str) -> None:
        """Make the rows of the run `owner` this run's, too."""

    def sum_up(self, results: Sequence[Summary]) -> Summary:
        """One summary of those of all units."""
        return results[0]

    def send(self, session: RunSession, child: str | None) -> None:
        """Send what is stored of the finished stage to its MLflow run `child` (None while MLflow is out of reach)."""
        for row in session.store.named("stage_results_of_run", run_id=session.run.run_id, stage=self.name):
            session.tracker.log_summary(child, row["summary"])

    def show(self, session: RunSession, child: str | None, display: Display) -> None:
        """Show what came of it; `child` is its MLflow run."""


class StageOfRuns(Stage[Unit]):
    """A stage whose unit is a run."""

    @abstractmethod
    def fingerprint(self, session: RunSession) -> str:
        """Digest of what the stage's result for a run depends on."""

    def units(self, sessions: Sequence[RunSession]) -> list[Unit]:
        return [Unit(session, self.fingerprint(session)) for session in sessions]


def sampling_identity(config: RunConfig) -> list[object]:
    """What sampling depends on beside prompts, weights and its own settings; how fast it runs (memory, threads) is left out."""
    template = [config.chat_template] if config.chat_template else []
    return [config.generation.engine, config.generation.dtype, config.seed, *template]
