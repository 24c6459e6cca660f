"""`laconic preview`: what the first step would see, printed; no flow, since nothing is stored and no model runs."""

import json
import sys
from pathlib import Path
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline_lib.config import load_config
from pipeline_lib.messages.harmless import json_text, visible_line, write_csv
from pipeline_lib.preview.comparison import Preview, make_preview
from pipeline_lib.preview.outcomes import recorded_outcomes, stored_outcomes
from pipeline_lib.preview.settings import Requested
from pipeline_lib.preview.table import COLUMNS, LEGEND, bucket_names, masked_rows, plain_preview, plain_rows, text_rows
from pipeline_lib.runs.run import Run
from pipeline_lib.stages.profile import profile_fingerprint
from pipeline_lib.store.database import Store

Format = Literal["table", "json", "csv"]
WIDTH = 120


def preview_configuration(config: str, overrides: list[str], asked: Requested, rollouts: Path | None) -> Preview:
    """Compare first steps of a configuration, from its stored profile or from a file. Raises ValueError when there is neither."""
    settings = load_config(config, overrides)
    if rollouts:
        return make_preview(settings, recorded_outcomes(rollouts, settings), asked)
    run = Run.of(settings)
    return make_preview(settings, stored_outcomes(Store(run.home), run, profile_fingerprint(settings, run.base.digest)), asked)


def write_figure(preview: Preview, path: Path) -> None:
    """Draw the preview as PNG. Raises ValueError for another kind of file."""
    check_figure(path)
    from pipeline_lib.report.canvas import save_png
    from pipeline_lib.report.preview import first_step_figure

    path.parent.mkdir(parents=True, exist_ok=True)
    figure = first_step_figure(preview)
    assert figure is not None
    save_png(figure, path)


def check_figure(path: Path) -> None:
    """Raises ValueError when the name is not that of a PNG."""
    if path.suffix.lower() != ".png":
        raise ValueError(f"--out {path} does not end in .png")


def show_preview(preview: Preview, output_format: Format, console: Console, raw: bool = False) -> None:
    """Print a preview as tables and sentences, or as JSON or CSV on standard output; `raw` as in `write_csv`."""
    if output_format == "json":
        sys.stdout.write(json_text(plain_preview(preview), indent=2) + "\n")
        return
    if output_format == "csv":
        rows = plain_rows(preview.rows)
        cells = [[json.dumps(value) if isinstance(value, dict | tuple) else value for value in row.values()] for row in rows]
        write_csv(sys.stdout, list(rows[0]), cells, raw)
        return
    console.width = min(console.width, WIDTH)
    console.print(f"{preview.name}: what the first training step would see", style="bold")
    console.print(preview.profile)
    console.print(f"configured: {preview.rows[0].label}")
    console.print(_settings_table(preview))
    if masked := masked_rows(preview):
        console.print(_table(["tokens kept out of the loss (%), by length", *bucket_names(preview.bucket_edges)], masked))
    for sentence in preview.sentences:
        console.print(sentence)
    console.print(LEGEND, style="dim")


def _settings_table(preview: Preview) -> Table:
    table = _table(list(COLUMNS), [])
    factors = [row.factor for row in preview.rows]
    for row, cells, following in zip(preview.rows, text_rows(preview.rows), [*factors[1:], None], strict=True):
        style = "bold" if row.factor == "configured" else None
        table.add_row(*map(_text, cells), style=style, end_section=following != row.factor)
    return table


def _table(columns: list[str], rows: list[list[str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="dim", show_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=number > 0, vertical="bottom", overflow="fold")
    for cells in rows:
        table.add_row(*map(_text, cells))
    return table


def _text(cell: str) -> Text:
    return Text(visible_line(cell))
