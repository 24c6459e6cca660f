"""`laconic init`, `doctor`, `check`, `prompts`, `preview`, `grade`, `import-gguf` and `warmup`: what is done before a run."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.commands.terminal import ConfigPath, Overrides, Panel, Raw, cell, console, errors, show_summaries, text_table
from flows.server.temporary import server_starting
from pipeline_lib.config import AnswerSettings, laconic_home, load_config, parse_config
from pipeline_lib.records import AnswerFrom

commands = typer.Typer()


@commands.command(rich_help_panel=Panel.PREPARE)
def doctor() -> None:
    """Say what was found on this machine, what is wrong, and how to fix it; exit status 1 when something is."""
    from pipeline_lib.doctor import examine

    findings = examine()
    rows = [[finding.name, finding.found, "ok" if finding.ok else finding.fix] for finding in findings]
    console.print(text_table(None, ["part", "found", "verdict"], rows))
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@commands.command(rich_help_panel=Panel.PREPARE)
def init(
    name: Annotated[Path, typer.Argument(help="Name of the run; NAME.toml is written, also into a folder: my/first.")],
    model: Annotated[str | None, typer.Option(help="Folder, hub id, 'builtin:tiny', or an endpoint's address.")] = None,
    data: Annotated[str | None, typer.Option(help="File, folder, hub id, 'gym:TASK[,TASK]', shipped name, or 'tiny'.")] = None,
    tests: Annotated[
        list[str],
        typer.Option("--test", help="What models are judged on, named as --data; repeatable; else a part of the data."),
    ] = [],  # noqa: B006
    answer: Annotated[
        str | None,
        typer.Option(help="Where it stands: boxed, last_number, after:MARK, pattern:REGEX; or python:MODULE:FUNCTION judges."),
    ] = None,
    card: Annotated[str | None, typer.Option(metavar="GIB", help="Memory of each GPU, or 'none'; else what is here.")] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="So many of them.")] = None,
    served_name: Annotated[str | None, typer.Option(help="What the endpoint calls the model.")] = None,
    key_variable: Annotated[str | None, typer.Option(help="Environment variable that holds the endpoint's key.")] = None,
    problem_field: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column with the problem.")] = None,
    answer_field: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column with the answer.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take the defaults.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file that is there.")] = False,
) -> None:
    """Write a commented configuration to begin with, for your model, data and card; what no option answers is asked.

    Its settings are the paper's and the shipped files', with lengths that the memory plan fits to the card.
    """
    from flows.commands.beginning import begin

    fields = {key: column for key, column in (("problem_field", problem_field), ("answer_field", answer_field)) if column}
    if not begin(name, model, data, tests, answer, card, gpus, served_name, key_variable, fields, yes, force):
        raise typer.Exit(1)


@commands.command(rich_help_panel=Panel.PREPARE)
def check(
    configs: Annotated[
        list[Path], typer.Argument(metavar="CONFIG...", help="Configuration files; --memory takes all without.")
    ] = [],  # noqa: B006
    overrides: Overrides = [],  # noqa: B006
    memory: Annotated[bool, typer.Option("--memory", help="Only what they take on 1, 4 and 8 GPUs, as a table.")] = False,
    card_gib: Annotated[
        float | None, typer.Option(min=1, metavar="GIB", help="Memory of a GPU; else that of the GPU here, or 79.6 (80 GB).")
    ] = None,
    output_format: Annotated[Literal["table", "json"], typer.Option("--format", help="How to print it.")] = "table",
    strict: Annotated[bool, typer.Option("--strict", help="Fail for a warning, too.")] = False,
) -> None:
    """Hold a configuration against the paper's guidelines (docs/guidelines.md) and the memory of the GPUs (docs/performance.md).

    Exit status 1 for an error. Nothing is run.
    """
    from flows.commands.checking import check_and_show, show_memory_table
    from pipeline_lib.config.shipped import PROJECT, config_choices
    from pipeline_lib.memory import H100, Card, card_here

    card = Card("as given", card_gib) if card_gib else (card_here() or (H100, 0))[0]
    if not configs and not memory:
        raise ValueError("which configuration? laconic check configs/demo.toml, or laconic check --memory for all of them")
    paths = configs or [PROJECT / path for path in config_choices()]
    loaded = [(path.stem, load_config(path, overrides)) for path in paths]
    if memory:
        show_memory_table(loaded, card)
        return
    passed = [check_and_show(config, laconic_home(), card, output_format, strict) for _, config in loaded]
    if not all(passed):
        raise typer.Exit(1)


@commands.command(rich_help_panel=Panel.PREPARE)
def prompts(
    config: ConfigPath,
    overrides: Overrides = [],  # noqa: B006
    num_shown: Annotated[int, typer.Option("-n", min=0, metavar="N", help="So many rendered prompts.")] = 3,
    source: Annotated[str | None, typer.Option(metavar="NAME", help="Of this source; else of the training prompts.")] = None,
    output_format: Annotated[Literal["table", "json"], typer.Option("--format", help="How to print it.")] = "table",
) -> None:
    """Show what the model is asked: rendered prompts with their special tokens, lengths, and what cleaning leaves out.

    No model is loaded.
    """
    from flows.commands.prompting import show_prompts

    show_prompts(load_config(config, overrides), source, num_shown, output_format)


@commands.command(rich_help_panel=Panel.PREPARE)
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
    from pipeline_lib.preview.settings import Requested

    if out:
        check_figure(out)
    found = preview_configuration(config, overrides, Requested(rewards, negatives, targets, subsets, nums_rollouts), rollouts)
    show_preview(found, output_format, console, raw)
    if out:
        write_figure(found, out)
        errors.print(f"figure: {out}", soft_wrap=True)


@commands.command(rich_help_panel=Panel.PREPARE)
def grade(
    file: Annotated[
        Path, typer.Argument(help="Parquet, JSONL or CSV with columns gold, prediction (grader, tests, problem, source).")
    ],
    out: Annotated[Path | None, typer.Option(help="Where to write all columns plus correct, reason, seconds.")] = None,
    grader: Annotated[str, typer.Option(help="math, exact, choice, code or gym; for rows without a column grader.")] = "math",
    function: Annotated[
        str | None, typer.Option(metavar="MODULE:NAME", help="Judge by your own function (docs/howto/own-grader.md).")
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for one answer, or one test of a program.")] = None,
    sandbox: Annotated[Literal["process", "bubblewrap", "docker"], typer.Option(help="What confines programs.")] = "process",
    strict: Annotated[bool, typer.Option("--strict", help="As --answer-from boxed: only the last box counts.")] = False,
    answer_from: Annotated[
        AnswerFrom | None, typer.Option(help="Where the answer stands, as in training; else it may be bare.")
    ] = None,
    answer_mark: Annotated[str | None, typer.Option(metavar="TEXT", help="What the answer is after.")] = None,
    answer_pattern: Annotated[str | None, typer.Option(metavar="REGEX", help="What finds the answer.")] = None,
    raw: Raw = False,
) -> None:
    """Judge predictions with our grader; no model, store or server is needed."""
    from flows.commands.grading import grade_with_progress

    given = {"answer_from": answer_from, "answer_mark": answer_mark, "answer_pattern": answer_pattern}
    told = {key: value for key, value in given.items() if value is not None} or ({"answer_from": "boxed"} if strict else {})
    rule = parse_config(told, AnswerSettings, origin="grade").answer_rule if told else None
    summary = grade_with_progress(file, out, grader, timeout, sandbox, rule, raw, function)
    rows = [[cell(value) for value in row.values()] for row in summary]
    console.print(text_table(f"{file.name}: verdicts by source", list(summary[0]), rows))


@commands.command("import-gguf", rich_help_panel=Panel.PREPARE)
def import_gguf(
    file: Annotated[Path, typer.Argument(metavar="FILE.gguf", help="A model as llama.cpp takes it.")],
    folder: Annotated[Path, typer.Argument(help="Where to write the model; it must not exist.")],
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"], typer.Option(help="Number format of the weights; float32 loses nothing.")
    ] = "float32",
) -> None:
    """Make a model folder for base_model from a GGUF file; needs the package gguf (the extra of that name)."""
    from pipeline_lib.runs.gguf import import_gguf

    show_summaries([import_gguf(file, folder, dtype)])


@commands.command(rich_help_panel=Panel.PREPARE)
def warmup(
    config: ConfigPath = "configs/warmup.toml",
    overrides: Overrides = [],  # noqa: B006
    output: Annotated[str | None, typer.Option(help="Folder of the new base model; default: bases/ in LACONIC_HOME.")] = None,
) -> None:
    """Train the tiny world's base model from scratch; exit status 1 when it does not pass the gate."""
    with server_starting():
        from flows.warmup import run_warmup
    result = run_warmup(config, overrides, output)
    show_summaries([{key: value for key, value in result.items() if key != "figures"}, *result["figures"]])
    if not result["passed"]:
        raise typer.Exit(1)
