"""`laconic relocate`: for a home that was moved, or restored from a backup to another folder."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.terminal import Panel, console
from pipeline_lib.config import laconic_home

commands = typer.Typer()


@commands.command(rich_help_panel=Panel.OPERATE)
def relocate(
    former: Annotated[Path, typer.Argument(metavar="FORMER_HOME", help="Absolute path that the home had before.")],
) -> None:
    """After moving a home: make the paths of checkpoints and models in its databases point into it again."""
    from pipeline_lib.runs.relocation import relocate_home

    for place, count in relocate_home(laconic_home(), former).items():
        console.print(f"{place}: {count}", markup=False, highlight=False)
