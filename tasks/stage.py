"""The one task that wraps a stage, and that of recorded rollouts: what they show is published in Prefect, or a bar in the terminal."""

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipeline_lib.config import RecordedConfig
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages import StageEntry
from pipeline_lib.stages.display import Display, TrainingView
from pipeline_lib.stages.recorded import evaluate_recorded
from pipeline_lib.stages.runner import run_stage
from pipeline_lib.stages.stage import Summary
from tasks.artifacts import publish_image, publish_markdown, publish_page, publish_table
from tasks.progress import stage_progress
from tasks.training_display import TrainingDisplay, announce_fleet


def do_stage(entry: StageEntry, sessions: Sequence[RunSession]) -> Summary:
    """Do a stage for some runs as a task run of the stage's name."""
    return _run_stage.with_options(name=entry.name)(entry, list(sessions))


@task(name="stage", cache_policy=NO_CACHE)
def _run_stage(entry: StageEntry, sessions: list[RunSession]) -> Summary:
    return run_stage(entry.stage, sessions, PrefectDisplay())


@task(name="evaluate-recorded", cache_policy=NO_CACHE)
def do_recorded_evaluation(config: RecordedConfig, flow_run_id: str | None) -> Summary:
    """Score the recorded rollouts of a file at every token budget."""
    return evaluate_recorded(config, PrefectDisplay(), flow_run_id)


class PrefectDisplay(Display):
    """Shows on the page of the flow run, as artifacts and events."""

    def __init__(self) -> None:
        self._training: dict[str, TrainingDisplay] = {}

    def training(self, run: Run) -> TrainingView:
        """Live artifacts: a table of the newest steps and an image of the dynamics; alarms are events."""
        return self._training.setdefault(run.run_id, TrainingDisplay(run))

    fleet = staticmethod(announce_fleet)
    progress = staticmethod(stage_progress)
    table = staticmethod(publish_table)
    markdown = staticmethod(publish_markdown)
    picture = staticmethod(publish_image)
    page = staticmethod(publish_page)
