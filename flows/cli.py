"""The command line: `laconic COMMAND`. Prefect and everything heavy is imported by the command that needs it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flows.commands import looking, relocating, retraining, serving
from flows.commands.ending import end, end_as_told, end_with_error, keep_terminal_quiet
from flows.commands.terminal import (
    ConfigPath,
    Force,
    Overrides,
    Raw,
    cell,
    console,
    errors,
    show_results,
    show_summaries,
    text_table,
)
from flows.server.environment import prepare_environment
from flows.server.temporary import begin_server, is_temporary, wait_for_server
from flows.server.termination import end_when_told, termination_requested
from pipeline_lib.config import laconic_home, load_config, recorded_config
from pipeline_lib.messages.faults import require_writable
from pipeline_lib.messages.harmless import json_text, make_messages_harmless, write_csv

app = typer.Typer(
    name="laconic",
    help="Train reasoning models to think briefly and still be right.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    result_callback=lambda _: _say_what_is_missing(),
)


# Commands that only read the home: they work on one that cannot be written.
READING = ("sql", "show", "results", "export", "promotions")
# Commands that work without what is in the home.
ELSEWHERE = ("check", "doctor", "down", "grade", "preview")


def main() -> None:
    """Entry point: whatever goes wrong is one line on stderr, with exit status 1, or 143 and 130 for SIGTERM and Ctrl-C."""
    try:
        end_when_told()
        prepare_environment()
        make_messages_harmless()
        keep_terminal_quiet()
        app()
    except BaseException as error:
        work_is_done = isinstance(error, SystemExit) and not error.code
        # What a signal is met by may be any error, such as that of a server that ended by the same signal.
        if termination_requested() and not work_is_done:
            end_as_told()
        if isinstance(error, Exception):
            end_with_error(error)
        if isinstance(error, SystemExit) and isinstance(error.code, int | None):
            end(error.code or 0)
        raise


@app.callback()
def _look_at_home(context: typer.Context) -> None:
    """Tell of a home that cannot be worked on before anything is started; settle what a killed command has left."""
    command = context.invoked_subcommand or ""
    if command in ELSEWHERE or "--help" in sys.argv:
        return
    home = laconic_home()
    if command in READING:
        from pipeline_lib.runs.crashed_runs import close_abandoned_runs

        close_abandoned_runs(home, retry_mlflow=False)
    else:
        require_writable(home)


def _say_what_is_missing() -> None:
    """A command that ended well, but for MLflow: RuntimeError with a line for each run."""
    from pipeline_lib.tracking import undelivered_notes

    if notes := undelivered_notes():
        raise RuntimeError("\n".join(notes))


def _stage(flow_name: str) -> Callable[[str, list[str], bool], Any]:
    def run(config: str, overrides: list[str], force: bool) -> Any:
        load_config(config, overrides)  # a mistake is told before Prefect has started
        begin_server()
        from flows import stages

        wait_for_server()
        return getattr(stages, flow_name)(config, overrides=overrides, force=force)

    return run


@app.command()
def check(
    config: ConfigPath,
    overrides: Overrides = [],  # noqa: B006
    output_format: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
    strict: Annotated[bool, typer.Option("--strict", help="Fail for a warning, too.")] = False,
) -> None:
    """Hold a configuration against the paper's guidelines (docs/guidelines.md); exit status 1 for an error. Nothing is run."""
    from flows.commands.checking import check_and_show

    if not check_and_show(load_config(config, overrides), laconic_home(), output_format, strict):
        raise typer.Exit(1)


@app.command()
def run(config: ConfigPath, overrides: Overrides = [], force: Force = False) -> None:  # noqa: B006
    """Run the whole pipeline: profile, filter, train, evaluate, register, report."""
    from flows.runs import start_workers

    load_config(config, overrides)  # a mistake is told before anything has started
    console.print("starting the engines, Prefect and the store ...", style="dim")
    begin_server()
    if is_temporary():  # with a server that lasts the flow waits for a slot of its `gpu` limit first
        start_workers(config, overrides, force)
    from flows.pipeline import run_pipeline

    wait_for_server()
    result = run_pipeline(config, overrides=overrides, force=force)
    show_results(result["run_ids"])
    console.print(f"report: {result['report']}", soft_wrap=True)


@app.command()
def profile(
    config: ConfigPath,
    overrides: Overrides = [],  # noqa: B006
    force: Force = False,
    rollouts: Annotated[
        str | None, typer.Option(help="Judge these rollouts (Parquet, JSONL, CSV) instead of sampling: profile.rollouts_file.")
    ] = None,
) -> None:
    """Sample N rollouts per prompt with the base model and store the pass rates."""
    if rollouts:
        overrides = [*overrides, 'profile.origin="imported"', f"profile.rollouts_file={json.dumps(rollouts)}"]
    show_summaries(_stage("run_profile")(config, overrides, force))


@app.command()
def preview(
    config: ConfigPath,
    overrides: Overrides = [],  # noqa: B006
    rewards: Annotated[list[str], typer.Option("--reward", help="Compare this reward; repeatable.")] = [],  # noqa: B006
    negatives: Annotated[
        list[str],
        typer.Option("--negatives", metavar="STRATEGY", help="Compare this strategy of the paper's Table 1, such as -I."),
    ] = [],  # noqa: B006
    targets: Annotated[list[int], typer.Option("--target", metavar="TOKENS", help="Compare this L_T.")] = [],  # noqa: B006
    subsets: Annotated[list[str], typer.Option("--subset", help="Compare easy, all, hard or band.")] = [],  # noqa: B006
    nums_rollouts: Annotated[list[int], typer.Option("--num-rollouts", metavar="N", help="Compare this N.")] = [],  # noqa: B006
    rollouts: Annotated[
        Path | None, typer.Option(help="Preview from these rollouts (Parquet, JSONL, CSV), not from the stored profile.")
    ] = None,
    output_format: Annotated[Literal["table", "json", "csv"], typer.Option("--format", help="How to print it.")] = "table",
    out: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw it as well.")] = None,
    raw: Raw = False,
) -> None:
    """Show what the first training step would see, from the profile and without a model.

    Without options that compare, a small grid around the configuration; with some, every combination of their values.
    """
    from flows.commands.previewing import check_figure, preview_configuration, show_preview, write_figure
    from pipeline_lib.preview import Requested

    if out:
        check_figure(out)
    found = preview_configuration(config, overrides, Requested(rewards, negatives, targets, subsets, nums_rollouts), rollouts)
    show_preview(found, output_format, console, raw)
    if out:
        write_figure(found, out)
        errors.print(f"figure: {out}", markup=False, highlight=False, soft_wrap=True)


@app.command("filter")
def filter_(config: ConfigPath, overrides: Overrides = [], force: Force = False) -> None:  # noqa: B006
    """Select the training prompts by their pass rate."""
    show_summaries(_stage("run_filter")(config, overrides, force))


@app.command()
def train(config: ConfigPath, overrides: Overrides = [], force: Force = False) -> None:  # noqa: B006
    """Train with the length-aware reward; an interrupted training run resumes from its newest checkpoint."""
    show_summaries(_stage("run_train")(config, overrides, force))


@app.command()
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
        begin_server()
        from flows.recorded import run_recorded_evaluation

        wait_for_server()
        result = run_recorded_evaluation(recorded)
        show_summaries([result])
        show_results([result["run_id"]])
        return
    if config is None:
        raise ValueError("evaluate needs a configuration file, or --rollouts FILE")
    show_summaries([_stage("run_evaluate")(config, overrides, force)])
    from pipeline_lib.runs.base_model import pinned

    settings = pinned(load_config(config, overrides))
    control = [settings.control_variant().run_id] if settings.control.enabled else []
    show_results([settings.run_id, *control])


@app.command()
def grade(
    file: Annotated[Path, typer.Argument(help="Parquet, JSONL or CSV with columns gold, prediction (grader, tests, source).")],
    out: Annotated[Path | None, typer.Option(help="Where to write all columns plus correct, reason, seconds.")] = None,
    grader: Annotated[str, typer.Option(help="math, exact or code; for rows without a column grader.")] = "math",
    timeout: Annotated[float | None, typer.Option(help="Seconds for one answer, or one test of a program.")] = None,
    sandbox: Annotated[Literal["process", "bubblewrap", "docker"], typer.Option(help="What confines programs.")] = "process",
    strict: Annotated[bool, typer.Option("--strict", help="Only the last box counts, as in training.")] = False,
    raw: Raw = False,
) -> None:
    """Judge predictions with our grader; no model, store or server is needed."""
    from flows.commands.grading import grade_with_progress

    summary = grade_with_progress(file, out, grader, timeout, sandbox, strict, raw)
    rows = [[cell(value) for value in row.values()] for row in summary]
    console.print(text_table(f"{file.name}: verdicts by source", list(summary[0]), rows))


@app.command()
def register(config: ConfigPath, overrides: Overrides = [], force: Force = False) -> None:  # noqa: B006
    """Register the best checkpoint in MLflow under the alias 'challenger'."""
    show_summaries(_stage("run_register")(config, overrides, force))


@app.command()
def warmup(
    config: ConfigPath = "configs/warmup.toml",
    overrides: Overrides = [],  # noqa: B006
    output: Annotated[str | None, typer.Option(help="Folder of the new base model; default: bases/ in LACONIC_HOME.")] = None,
) -> None:
    """Train the tiny world's base model from scratch; exit status 1 when it does not pass the gate."""
    begin_server()
    from flows.warmup import run_warmup

    wait_for_server()
    result = run_warmup(config, overrides, output)
    show_summaries([{key: value for key, value in result.items() if key != "figures"}, *result["figures"]])
    if not result["passed"]:
        raise typer.Exit(1)


@app.command()
def experiment(
    name: Annotated[str, typer.Argument(help="Name of a shipped experiment, such as f3-difficulty, a .toml file, or 'all'.")],
    seeds: Annotated[int | None, typer.Option(help="Seeds 0 to K - 1; default: those of the experiment.", min=1)] = None,
    overrides: Overrides = [],  # noqa: B006
    lanes: Annotated[int | None, typer.Option(help="Child runs side by side; default: by cores, one on a GPU.", min=1)] = None,
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
    begin_server()
    from flows.experiments import run_experiments

    wait_for_server()
    show_summaries(run_experiments(names, list(range(seeds)) if seeds else None, overrides, lanes, force, pages))


@app.command()
def results(
    run_ids: Annotated[list[str], typer.Argument(help="Run ids; see 'laconic sql \"select run_id, name from runs\"'.")],
) -> None:
    """Print accuracy and length at every budget for some runs."""
    show_results(run_ids)


@app.command()
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


@app.command()
def doctor() -> None:
    """Say what was found on this machine, what is wrong, and how to fix it; exit status 1 when something is."""
    from pipeline_lib.doctor import examine

    findings = examine()
    rows = [[finding.name, finding.found, "ok" if finding.ok else finding.fix] for finding in findings]
    console.print(text_table(None, ["part", "found", "verdict"], rows))
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


# Commands of other modules: app.add_typer(commands) puts them beside those above.
app.add_typer(looking.commands)
app.add_typer(serving.commands)
app.add_typer(retraining.commands)
app.add_typer(relocating.commands)


if __name__ == "__main__":
    main()
