"""What all commands share: how they print, and the arguments that many of them take."""

import sys
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from pipeline_lib.addresses import remember_settings
from pipeline_lib.harmless import HarmlessConsole, visible, visible_line

# Piped output has no width of its own; tables must not be squeezed into 80 columns there.
console = HarmlessConsole(width=None if sys.stdout.isatty() else 160)
errors = HarmlessConsole(stderr=True)

ConfigPath = Annotated[str, typer.Argument(help="Configuration file (TOML), such as configs/demo.toml.")]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Override one setting; repeatable.",
        callback=remember_settings,  # Prefect shows what a flow was called with
    ),
]
Raw = Annotated[bool, typer.Option("--raw", help="CSV: do not defuse cells that a spreadsheet would execute.")]
Force = Annotated[bool, typer.Option("--force", help="Do it again even when a result for the same inputs is stored.")]


def text_table(title: str | None, columns: list[str], rows: list[list[str]]) -> Table:
    """A table of texts; a model's name may hold what rich or a terminal would act on."""
    table = Table(title=title and Text(visible_line(title), style="table.title"), title_justify="left")
    for column in columns:
        table.add_column(Text(visible_line(column)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    return table


def cell(value: Any) -> str:
    """A value in a cell."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
