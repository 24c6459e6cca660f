"""What a stage shows of its work, as plain data. Whoever runs it decides where: on Prefect's pages, or nowhere as here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline_lib.records import Alarm, FleetEvent
from pipeline_lib.report.data import FleetRecord
from pipeline_lib.runs.run import Run


class Progress:
    """How far a stage is."""

    def update(self, done: int, total: int, note: str = "") -> None:
        """`done` of `total` are done."""


class TrainingView:
    """A training run while it runs."""

    @property
    def is_due(self) -> bool:
        """Whether enough time has passed to show more."""
        return False

    def show(
        self,
        curve: Sequence[dict[str, Any]],
        finished: bool = False,
        read_fleet: Callable[[], FleetRecord | None] = lambda: None,
    ) -> None:
        """Rows of `training_steps` of the whole run so far; and, read where it is time to show it, what its fleet did in the newest."""

    def announce(self, alarms: Sequence[Alarm]) -> None:
        """All alarms so far; each is announced once."""


class Display:
    """Shows nothing; the base of displays that do."""

    @contextmanager
    def progress(self, run_name: str, stage: str) -> Iterator[Progress]:
        """The progress of a stage while the block runs."""
        yield Progress()

    def training(self, run: Run) -> TrainingView:
        """The view of a training run, the same for each call."""
        return TrainingView()

    def fleet(self, run: Run, events: Sequence[FleetEvent]) -> None:
        """What the actors of a run's fleet did, or what befell them."""

    def table(self, run_name: str, what: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
        """A table of plain values."""

    def markdown(self, run_name: str, what: str, markdown: str, description: str) -> None:
        """A text on a page of its own."""

    def picture(self, run_name: str, path: Path, description: str) -> None:
        """A picture, as the path of a PNG."""

    def page(self, run_name: str, path: Path, mlflow_address: str | None) -> None:
        """An HTML page on disk; `mlflow_address` is the page of the MLflow run that keeps a copy."""
