"""`laconic grade`: a file judged with a progress bar; no flow, since nothing is stored."""

from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipeline_lib.grading import Isolation
from pipeline_lib.grading.files import grade_file
from pipeline_lib.messages.harmless import HarmlessConsole
from pipeline_lib.records import AnswerRule


def grade_with_progress(
    file: Path,
    out: Path | None,
    grader: str,
    timeout_seconds: float | None,
    sandbox: Isolation,
    answer_rule: AnswerRule | None,
    raw: bool = False,
    function: str | None = None,
) -> list[dict[str, Any]]:
    """Grade a file (see `grade_file`) and show how far it is; returns a row a source and one for all."""
    columns = (TextColumn("grading"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=HarmlessConsole(stderr=True)) as progress:
        bar = progress.add_task("grading", total=None, visible=False)
        return grade_file(
            file,
            out,
            grader,
            timeout_seconds,
            sandbox,
            answer_rule,
            on_start=lambda total: progress.update(bar, total=total, visible=True),
            on_done=lambda count: progress.advance(bar, count),
            raw=raw,
            function=function,
        )
