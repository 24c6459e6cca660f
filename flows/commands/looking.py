"""`laconic report`, `show` and `export`: what a user looks at."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flows.commands.terminal import Force, Overrides, console
from flows.server.temporary import begin_server, wait_for_server
from pipeline_lib.config import laconic_home, load_config

commands = typer.Typer()


@commands.command()
def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="CONFIG|RUN...",
            help="A configuration file; or run ids, their unique beginnings, names of runs. Several are compared with the first.",
        ),
    ],
    overrides: Overrides = [],  # noqa: B006
    force: Force = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Several runs: folder of the page; default: reports/ in the home.")
    ] = None,
) -> None:
    """Write the self-contained HTML report of a run beside its control, or one page that compares several runs."""
    from pipeline_lib.runs.run_names import choose_runs, is_config

    if out and len(runs) == 1:
        raise ValueError("--out is for a comparison of several runs; the report of one lies in reports/RUN_ID in the home")
    if len(runs) == 1 and is_config(runs[0]):
        load_config(runs[0], overrides)  # a mistake is told before Prefect has started
        begin_server()
        from flows.stages import run_report

        wait_for_server()
        result: Any = run_report(runs[0], overrides=overrides, force=force)
    else:
        # A mistake is told before Prefect has started, and by a process of its own: DuckDB calls itself leaked at exit when it was
        # loaded before Prefect's server.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
            run_ids = apart.submit(choose_runs, laconic_home(), runs, overrides).result()
        begin_server()
        from flows.comparing import run_comparison

        wait_for_server()
        result = run_comparison(run_ids, str(out) if out else None)
    console.print(f"report: {result['report']}", markup=False, soft_wrap=True)


@commands.command()
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


@commands.command()
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
