"""Progress of a stage: a bar in the terminal and a progress artifact in Prefect."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tasks.artifacts import artifact_key

ARTIFACT_SECONDS = 2.0
LINE_SECONDS = 10.0

console = Console(file=sys.stderr)
_bars = Progress(
    TextColumn("{task.description}", justify="left"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
    TextColumn("{task.fields[note]}"),
    console=console,
)


class StageProgress:
    """One stage's progress; on a terminal a live bar, elsewhere a line every ten seconds."""

    def __init__(self, bar: TaskID, artifact: UUID, description: str) -> None:
        self._bar, self._artifact, self._description = bar, artifact, description
        self._sent = self._printed = time.monotonic()

    def update(self, done: int, total: int, note: str = "") -> None:
        """Show that `done` of `total` are done."""
        _bars.update(self._bar, completed=done, total=total, note=note)
        now = time.monotonic()
        if now - self._sent > ARTIFACT_SECONDS or done >= total:
            self._sent = now
            update_progress_artifact(artifact_id=self._artifact, progress=min(100.0, 100.0 * done / max(total, 1)))
        if not console.is_terminal and (now - self._printed > LINE_SECONDS or done >= total):
            self._printed = now
            console.print(f"  {self._description}: {done}/{total} {note}", highlight=False)


@contextmanager
def stage_progress(run_name: str, stage: str) -> Iterator[StageProgress]:
    """Show the progress of a stage of a run while the block runs."""
    description = f"{run_name}: {stage}"
    artifact = create_progress_artifact(progress=0.0, key=artifact_key(run_name, stage, "progress"), description=description)
    assert isinstance(artifact, UUID)
    if console.is_terminal and not _bars.tasks:
        _bars.start()
    bar = _bars.add_task(description, total=None, note="")
    try:
        yield StageProgress(bar, artifact, description)
    finally:
        _bars.remove_task(bar)
        if not _bars.tasks:
            _bars.stop()
