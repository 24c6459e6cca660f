"""What all commands share: how they print, and the arguments that many of them take."""

import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Piped output has no width of its own; tables must not be squeezed into 80 columns there.
console = Console(width=None if sys.stdout.isatty() else 160)
errors = Console(stderr=True)

ConfigPath = Annotated[str, typer.Argument(help="Configuration file (TOML), such as configs/demo.toml.")]
Overrides = Annotated[list[str], typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one setting; repeatable.")]
Force = Annotated[bool, typer.Option("--force", help="Do it again even when a result for the same inputs is stored.")]


def text_table(title: str | None, columns: list[str], rows: list[list[str]]) -> Table:
    """A table of texts, printed as they are."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # as it is: a model's name may hold what rich reads as markup
    return table


def cell(value: Any) -> str:
    """A value in a cell."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
