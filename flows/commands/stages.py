"""`laconic run` and a command for each stage, made from the table of stages; those of some stages can do more."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.terminal import ConfigPath, Force, Overrides, Panel, console, say, show_results, show_summaries
from flows.server.temporary import begin_server, is_temporary, server_starting, wait_for_server
from pipeline_lib.config import laconic_home, load_config, recorded_config
from pipeline_lib.stages import STAGES, StageEntry

commands = typer.Typer()


@commands.command(rich_help_panel=Panel.STAGES)
def run(config: ConfigPath, overrides: Overrides = [], force: Force = False) -> None:  # noqa: B006
    """Run the whole pipeline: profile, filter, train, evaluate, register, report."""
    settings = load_config(config, overrides)  # a mistake is told before anything has started
    console.print("starting the engines, Prefect and the store ...", style="dim")
    begin_server()
    from pipeline_lib.runs.session import sessions_of
    from pipeline_lib.stages.opened import started_early

    sessions = sessions_of(settings, force)
    # With a server that lasts the flow waits for a slot of its `gpu` limit first.
    with started_early(sessions, starts_workers=is_temporary()):
        from flows.pipeline import pipeline_flow

        wait_for_server()
        result: Any = pipeline_flow(lambda *_: sessions)(config, overrides=overrides, force=force)
    show_results(result["run_ids"])
    say(f"report: {result['report']}")


def _run_stage(entry: StageEntry, config: str, overrides: list[str], force: bool) -> tuple[Any, list[str]]:
    """What the flow of a stage returns, and the ids of the runs that it worked on."""
    entry.require_possible(load_config(config, overrides))  # a mistake is told before Prefect has started
    with server_starting():
        from flows.stages import load_of_stage, stage_flow

        sessions = load_of_stage(entry)(config, overrides, force)
    result = stage_flow(entry, lambda *_: sessions)(config, overrides=overrides, force=force)
    return result, [session.run.run_id for session in sessions]


def _command_with_rollouts(entry: StageEntry) -> Callable[..., None]:
    def command(
        config: ConfigPath,
        overrides: Overrides = [],  # noqa: B006
        force: Force = False,
        rollouts: Annotated[
            str | None,
            typer.Option(
                help="A profile of these rollouts (Parquet, JSONL, CSV; or a run: those of its profile), not of sampled ones."
            ),
        ] = None,
    ) -> None:
        if rollouts:
            from pipeline_lib.stages.profile import rollouts_overrides

            overrides = [*overrides, *rollouts_overrides(rollouts)]
        show_summaries(_run_stage(entry, config, overrides, force)[0])

    return command


def evaluate(
    config: Annotated[str | None, typer.Argument(help="Configuration file (TOML); not needed with --rollouts.")] = None,
    overrides: Overrides = [],  # noqa: B006
    force: Force = False,
    rollouts: Annotated[
        str | None, typer.Option(help="Sweep the budgets of these recorded rollouts (Parquet, JSONL, CSV) instead of sampling.")
    ] = None,
) -> None:
    """Score the base and the trained models, or recorded rollouts, at every token budget.

    With --rollouts, --set takes the keys of an evaluation of recorded rollouts: name, grader, sources, only_models,
    only_benchmarks, budgets_tokens, bootstrap_resamples, seed.
    """
    if rollouts:
        recorded = recorded_config(rollouts, config, overrides)
        with server_starting():
            from flows.recorded import run_recorded_evaluation
        summary: Any = run_recorded_evaluation(recorded)
        run_ids = [summary["run_id"]]
    elif config is None:
        raise ValueError("evaluate needs a configuration file, or --rollouts FILE")
    else:
        summary, run_ids = _run_stage(STAGES["evaluate"], config, overrides, force)
    show_summaries([summary])
    show_results(run_ids)


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
        result, _ = _run_stage(STAGES["report"], runs[0], overrides, force)
    else:
        run_ids = choose_runs(laconic_home(), runs, overrides)  # a mistake is told before Prefect has started
        with server_starting():
            from flows.comparing import run_comparison
        result = run_comparison(run_ids, str(out) if out else None)
    say(f"report: {result['report']}")


def _plain_command(entry: StageEntry) -> Callable[..., None]:
    def command(config: ConfigPath, overrides: Overrides = [], force: Force = False) -> None:  # noqa: B006
        show_summaries(_run_stage(entry, config, overrides, force)[0])

    return command


_with_more: dict[str, Callable[..., None]] = {
    **{name: _command_with_rollouts(STAGES[name]) for name in ("profile", "filter")},
    "evaluate": evaluate,
    "report": report,
}
for _entry in STAGES.values():
    _command = _with_more.get(_entry.name) or _plain_command(_entry)
    _help = inspect.getdoc(_command) or _entry.help
    commands.command(_entry.name, help=_help, rich_help_panel=Panel.STAGES)(_command)


@commands.command(rich_help_panel=Panel.STAGES)
def experiment(
    name: Annotated[str, typer.Argument(help="Name of a shipped experiment, such as f3-difficulty, a .toml file, or 'all'.")],
    seeds: Annotated[int | None, typer.Option(help="Seeds 0 to K - 1; default: those of the experiment.", min=1)] = None,
    overrides: Overrides = [],  # noqa: B006
    lanes: Annotated[
        int | None, typer.Option(help="Child runs side by side; default: by cores, one on a GPU or on Ray.", min=1)
    ] = None,
    pages: Annotated[
        str | None, typer.Option(help="Folder for the page and its figures; default: reports/ in the home.")
    ] = None,
    force: Force = False,
) -> None:
    """Run an experiment, a finding of the paper in miniature: every arm at every seed, then a page with figure and verdict.

    Interrupt it whenever you like: the same command resumes where it stopped, and what is done is not done again.
    """
    from pipeline_lib.experiments.specification import experiment_names, load_experiment

    names = experiment_names() if name == "all" else [name]
    for each in names:
        load_experiment(each)  # a mistake is told before Prefect has started
    with server_starting():
        from flows.experiments import run_experiments
    show_summaries(run_experiments(names, list(range(seeds)) if seeds else None, overrides, lanes, force, pages))
