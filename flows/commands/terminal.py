"""What all commands share: how they print, and the arguments that many of them take."""

import sys
from typing import Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from pipeline_lib.config import laconic_home
from pipeline_lib.messages.addresses import remember_settings
from pipeline_lib.messages.harmless import HarmlessConsole, visible, visible_line

# Piped output has no width of its own; tables must not be squeezed into 80 columns there.
console = HarmlessConsole(width=None if sys.stdout.isatty() else 160)
errors = HarmlessConsole(stderr=True)


class Panel:
    """The groups of commands in `laconic --help`."""

    STAGES: Final = "The stages (run does them all)"
    LOOK: Final = "Look"
    PREPARE: Final = "Prepare and check"
    OPERATE: Final = "Operate"


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


def say(line: str) -> None:
    """Print one line, however long."""
    console.print(line, soft_wrap=True)


def text_table(title: str | None, columns: list[str], rows: list[list[str]]) -> Table:
    """A table of texts; a model's name may hold what rich or a terminal would act on."""
    table = Table(title=title and Text(visible_line(title), style="table.title"), title_justify="left")
    for column in columns:
        table.add_column(Text(visible_line(column)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    return table


def cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def show_summaries(summaries: list[dict[str, Any]]) -> None:
    """Print what stages returned, a line each."""
    for summary in summaries:
        console.print("  ".join(f"{key}: {visible_line(cell(value))}" for key, value in summary.items()), soft_wrap=True)


def show_results(run_ids: list[str]) -> None:
    """Print the table of the budget sweep: a row a model and benchmark; and what is reported of published models beside it."""
    from pipeline_lib.store.database import Store

    store = Store(laconic_home())
    points = store.named("budget_table", run_ids=run_ids)
    for benchmark in dict.fromkeys(point["benchmark"] for point in points):
        models: dict[tuple[str, int], dict[int, dict[str, Any]]] = {}
        for point in points:
            if point["benchmark"] == benchmark:
                models.setdefault((point["model"], point["step"]), {})[point["budget_tokens"]] = point
        budgets = sorted({budget for by_budget in models.values() for budget in by_budget})
        columns = ["model", "step", *(f"acc @{budget}" for budget in budgets), "mean tokens", "of correct", "of incorrect"]
        columns += ["tokens per correct", *(["per 1,000 correct"] if any(point["currency"] for point in points) else [])]
        rows = []
        for (label, step), by_budget in models.items():
            widest = by_budget[max(by_budget)]
            lengths = [
                widest[key] for key in ("mean_tokens", "mean_tokens_correct", "mean_tokens_incorrect", "tokens_per_correct")
            ]
            accuracies = [f"{100 * by_budget[budget]['mean_at_k']:.1f}" for budget in budgets]
            cells = ["–" if value is None else f"{value:.1f}" for value in lengths]
            if len(columns) > 2 + len(accuracies) + len(cells):
                cost = widest["cost_per_1000_correct"]
                cells.append("–" if cost is None else f"{cost:.4g} {widest['currency']}")
            rows.append([label, str(step), *accuracies, *cells])
        console.print(text_table(f"{benchmark}: accuracy (%) within a token budget", columns, rows))
    for row in store.named("configs_of_runs", run_ids=run_ids):
        if published := row["config"].get("evaluate", {}).get("published"):
            _show_reported(published, [point for point in points if point["run_id"] == row["run_id"]])


def _show_reported(published: dict[str, Any], points: list[dict[str, Any]]) -> None:
    from pipeline_lib.config import PublishedConfig, stored_config
    from pipeline_lib.report.published import TITLE, beside_reported

    if rows := beside_reported(stored_config(published, PublishedConfig), points):
        console.print(text_table(TITLE, list(rows[0]), [list(row.values()) for row in rows]))
