"""`laconic results`, `show`, `sql` and `export`: what a user looks at."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.commands.terminal import Panel, Raw, cell, console, show_results, text_table
from pipeline_lib.config import laconic_home
from pipeline_lib.messages.harmless import json_text, write_csv

commands = typer.Typer()


@commands.command(rich_help_panel=Panel.LOOK)
def results(
    run_ids: Annotated[list[str], typer.Argument(help="Run ids; see 'laconic sql \"select run_id, name from runs\"'.")],
) -> None:
    """Print accuracy and length at every budget for some runs."""
    show_results(run_ids)


@commands.command(rich_help_panel=Panel.LOOK)
def sql(
    query: Annotated[str, typer.Argument(help="One SELECT statement; the tables are described in docs/reference/schema.md.")],
    output_format: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
    raw: Raw = False,
) -> None:
    """Query everything that was stored, with SQL."""
    from pipeline_lib.store.database import Store

    result = Store(laconic_home()).query(query)
    if output_format == "csv":
        write_csv(sys.stdout, result.columns, result.rows, raw)
    elif output_format == "json":
        sys.stdout.write(json_text([dict(zip(result.columns, row, strict=True)) for row in result.rows]))
    elif output_format == "table":
        console.print(text_table(None, list(result.columns), [[cell(value) for value in row] for row in result.rows]))
    else:
        raise ValueError(f"--format {output_format!r} is not one of table, csv, json")


@commands.command(rich_help_panel=Panel.LOOK)
def show(
    what: Annotated[str, typer.Argument(metavar="ROLLOUT_ID|RUN", help="A rollout; or a run, for ids worth looking at.")],
    beside: Annotated[
        str | None, typer.Option(metavar="ROLLOUT_ID", help="Put this rollout next to it, not its own counterparts.")
    ] = None,
    output_format: Annotated[Literal["text", "json"], typer.Option("--format", help="How to print it.")] = "text",
) -> None:
    """Show a rollout with its problem, its verdict and reward, next to what the model said to it before or after training.

    A rollout_id is run_id/stage/model-step/prompt_id/sample_index; `laconic show RUN` lists some of a run.
    """
    from flows.commands.showing import show_rollout, show_run

    if "/" in what:
        show_rollout(laconic_home(), what, beside, output_format, console)
    elif beside:
        raise ValueError(f"--beside needs a rollout to stand next to, and {what!r} is a run")
    else:
        show_run(laconic_home(), what, output_format, console)


@commands.command(rich_help_panel=Panel.LOOK)
def export(
    folder: Annotated[Path, typer.Argument(help="Folder for one Parquet file a table, and schema.json.")],
    tables: Annotated[
        list[str] | None,
        typer.Option(
            "--tables", metavar="TABLE", help="Only this table or view, such as rollouts; repeatable, or with commas."
        ),
    ] = None,
    runs: Annotated[
        list[str] | None,
        typer.Option("--run", metavar="RUN", help="Only this run's rows, where a table has runs; repeatable."),
    ] = None,
) -> None:
    """Write the store as Parquet, every rollout included."""
    from pipeline_lib.runs.run_names import choose_runs
    from pipeline_lib.store.database import Store

    run_ids = choose_runs(laconic_home(), runs) if runs else None
    names = [name.strip() for given in tables for name in given.split(",")] if tables else None
    for path in Store(laconic_home()).export(folder, names, run_ids):
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)
