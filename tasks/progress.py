"""Progress of a stage: a bar in the terminal and a progress artifact in Prefect."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.artifacts import ProgressArtifact
from rich import progress as rich_progress
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipeline_lib.messages.harmless import HarmlessConsole, visible_line
from pipeline_lib.stages.display import Progress
from tasks.artifacts import LiveArtifact

ARTIFACT_SECONDS = 2.0
LINE_SECONDS = 10.0

console = HarmlessConsole(file=sys.stderr)
_bars = rich_progress.Progress(
    TextColumn("{task.description}", justify="left", markup=False),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
    TextColumn("{task.fields[note]}", markup=False),
    console=console,
)


class StageProgress(Progress):
    """One stage's progress; on a terminal a live bar, elsewhere a line every ten seconds."""

    def __init__(self, bar: TaskID, artifact: LiveArtifact, description: str) -> None:
        self._bar, self._artifact, self._description = bar, artifact, description
        self._started = self._printed = time.monotonic()
        self._first: int | None = None
        self._last_note = ""

    def update(self, done: int, total: int, note: str = "") -> None:
        note = visible_line(note)
        _bars.update(self._bar, completed=done, total=total, note=note)
        now = time.monotonic()
        if self._first is None:  # a resumed stage has done some of it before; an engine starts before anything is done
            self._first, self._started = done, now
        if self._artifact.is_due or done >= total:
            left = time_left(done - self._first, total - done, now - self._started)
            words = "  ".join(part for part in (f"{self._description}: {done} of {total}", left, note) if part)
            share = min(100.0, 100.0 * done / max(total, 1))
            self._artifact.show(ProgressArtifact, words, progress=share)
        if not console.is_terminal and (now - self._printed > LINE_SECONDS or done >= total):
            self._printed = now
            console.print(f"  {self._description}: {done}/{total} {note}", highlight=False)
        self._last_note = note

    def finish(self) -> None:
        """The stage is done, whatever the last report of its worker was."""
        words = "  ".join(part for part in (f"{self._description}: done", self._last_note) if part)
        self._artifact.show(ProgressArtifact, words, progress=100.0)


def time_left(done: int, left: int, seconds: float) -> str:
    """About how long what is left will take at the pace so far, in words; empty while there is no pace or nothing left."""
    if done <= 0 or left <= 0:
        return ""
    remaining = round(seconds / done * left)
    hours, minutes, seconds_left = remaining // 3600, remaining // 60 % 60, remaining % 60
    if hours:
        return f"about {hours} h {minutes} min left"
    return f"about {minutes} min {seconds_left} s left" if minutes else f"about {max(1, seconds_left)} s left"


@contextmanager
def stage_progress(run_name: str, stage: str) -> Iterator[StageProgress]:
    """Show the progress of a stage of a run while the block runs."""
    description = visible_line(f"{run_name}: {stage}")
    artifact = LiveArtifact(run_name, f"{stage}-progress", ARTIFACT_SECONDS)
    artifact.show(ProgressArtifact, description, progress=0.0)
    if console.is_terminal and not _bars.tasks:
        _bars.start()
    bar = _bars.add_task(description, total=None, note="")
    shown = StageProgress(bar, artifact, description)
    try:
        yield shown
        shown.finish()
    finally:
        _bars.remove_task(bar)
        if not _bars.tasks:
            _bars.stop()
