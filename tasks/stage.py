"""The one task that wraps a stage: whatever the stage shows is published in Prefect and, as a bar, in the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages import StageEntry
from pipeline_lib.stages.display import Display, Progress, TrainingView
from pipeline_lib.stages.runner import run_stage
from pipeline_lib.stages.stage import Summary
from tasks.artifacts import publish_image, publish_markdown, publish_page, publish_table
from tasks.progress import stage_progress
from tasks.training_display import TrainingDisplay


def do_stage(entry: StageEntry, sessions: Sequence[RunSession]) -> Summary:
    """Do a stage for some runs as a task run of the stage's name."""
    return _run_stage.with_options(name=entry.name)(entry, list(sessions))


@task(name="stage", cache_policy=NO_CACHE)
def _run_stage(entry: StageEntry, sessions: list[RunSession]) -> Summary:
    return run_stage(entry.room, sessions, PrefectDisplay())


class PrefectDisplay(Display):
    """Shows on the page of the flow run, as artifacts and events."""

    def __init__(self) -> None:
        self._training: dict[str, TrainingDisplay] = {}

    @contextmanager
    def progress(self, run_name: str, stage: str) -> Iterator[Progress]:
        """A progress artifact, and a bar in the terminal."""
        with stage_progress(run_name, stage) as shown:
            yield shown

    def training(self, run: Run) -> TrainingView:
        """Live artifacts: a table of the newest steps and an image of the dynamics; alarms are events."""
        return self._training.setdefault(run.run_id, TrainingDisplay(run))

    def table(self, run_name: str, what: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
        """A table artifact."""
        publish_table(run_name, what, rows, description)

    def markdown(self, run_name: str, what: str, markdown: str, description: str) -> None:
        """A Markdown artifact."""
        publish_markdown(run_name, what, markdown, description)

    def picture(self, run_name: str, path: Path, description: str) -> None:
        """An image artifact that holds the picture."""
        publish_image(run_name, path, description)

    def page(self, run_name: str, path: Path, mlflow_address: str | None) -> None:
        """A Markdown artifact that leads to MLflow's copy."""
        publish_page(run_name, path, mlflow_address)
