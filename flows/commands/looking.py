"""`laconic results`, `show`, `sql`, `export` and `promotions`: what a user looks at."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flows.commands.terminal import Panel, Raw, cell, console, say, show_results, text_table
from pipeline_lib.config import laconic_home
from pipeline_lib.messages.harmless import json_text, write_csv

commands = typer.Typer()

DECISION_COLUMNS = ["decision", "kind", "champion", "challenger", "result", "tokens", "accuracy", "decided", "reason"]


@commands.command(rich_help_panel=Panel.LOOK)
def results(
    run_ids: Annotated[list[str], typer.Argument(help="Run ids; see 'laconic sql \"select run_id, name from runs\"'.")],
) -> None:
    """Print accuracy and length at every budget for some runs."""
    show_results(run_ids)


@commands.command(rich_help_panel=Panel.LOOK)
def sql(
    query: Annotated[str, typer.Argument(help="One SELECT statement; the tables are described in docs/reference/schema.md.")],
    output_format: Annotated[Literal["table", "csv", "json"], typer.Option("--format", help="How to print it.")] = "table",
    raw: Raw = False,
) -> None:
    """Query everything that was stored, with SQL."""
    from pipeline_lib.store.database import Store

    result = Store(laconic_home()).query(query)
    if output_format == "csv":
        write_csv(sys.stdout, result.columns, result.rows, raw)
    elif output_format == "json":
        sys.stdout.write(json_text([dict(zip(result.columns, row, strict=True)) for row in result.rows]))
    else:
        console.print(text_table(None, list(result.columns), [[cell(value) for value in row] for row in result.rows]))


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
        say(str(path))


@commands.command(rich_help_panel=Panel.LOOK)
def promotions(
    model: Annotated[str | None, typer.Argument(help="Name of the model in the registry; default: all.")] = None,
) -> None:
    """List the decisions about the champion: promoted, kept and why, rolled back."""
    from pipeline_lib.store.database import Store

    store = Store(laconic_home())
    rows = store.named("promotions_of_model", model_name=model) if model else store.named("promotions")
    if not rows:
        raise ValueError(f"no decision{f' about model {model!r}' if model else ''} yet: 'laconic retrain' makes them")
    console.print(text_table(None, DECISION_COLUMNS, [_row(row) for row in rows]))


def _row(row: dict[str, Any]) -> list[str]:
    champion = _version(row["champion_version"])
    if row["champion_after"] != row["champion_version"]:
        champion += f" → {_version(row['champion_after'])}"
    return [
        row["decision_id"],
        row["kind"],
        champion,
        _version(row["challenger_version"]),
        row["decision"] if row["applied_at"] else f"{row['decision']} (aliases not moved yet)",
        _interval(row, "token_change"),
        _interval(row, "accuracy_difference"),
        f"{row['decided_at']:%Y-%m-%d %H:%M}",
        row["reason"],
    ]


def _version(version: int | None) -> str:
    return "–" if version is None else str(version)


def _interval(row: dict[str, Any], column: str) -> str:
    """A change in percent (tokens) or points (accuracy)."""
    return "–" if row[column] is None else f"{100 * row[column]:+.1f}{' %' if column == 'token_change' else ''}"
