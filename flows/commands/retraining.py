"""`laconic retrain`, `promote`, `rollback`, `promotions`: the champion of a registered model."""

from typing import Annotated, Any

import typer

from flows.commands.terminal import ConfigPath, Force, Overrides, Panel, console, text_table
from flows.server.temporary import begin_server, wait_for_server
from pipeline_lib.config import laconic_home, load_config

commands = typer.Typer()

COLUMNS = ["decision", "kind", "champion", "challenger", "result", "tokens", "accuracy", "decided", "reason"]


@commands.command(rich_help_panel=Panel.OPERATE)
def retrain(config: ConfigPath, overrides: Overrides = [], force: Force = False) -> None:  # noqa: B006
    """Train from the champion, hold the result against it, and promote it if it passes the gate (docs/gate.md)."""
    settings = load_config(config, overrides)  # a mistake is told before Prefect has started
    begin_server()
    from flows.retraining import retraining_flow

    wait_for_server()
    _show(retraining_flow(lambda *_: settings)(config, overrides=overrides, force=force))


@commands.command(rich_help_panel=Panel.OPERATE)
def promote(run_id: Annotated[str, typer.Argument(help="A finished run that was trained from the champion.")]) -> None:
    """Hold a finished run against the champion, by the same gate, and promote it if it passes."""
    begin_server()
    from flows.retraining import run_promotion

    wait_for_server()
    _show(run_promotion(run_id))


@commands.command(rich_help_panel=Panel.OPERATE)
def rollback(model: Annotated[str, typer.Argument(help="Name of the model in the registry.")]) -> None:
    """Make the previous champion the champion again."""
    begin_server()
    from flows.retraining import run_rollback

    wait_for_server()
    _show(run_rollback(model))


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
    console.print(text_table(None, COLUMNS, [_row(row) for row in rows]))


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


def _show(decision: dict[str, Any]) -> None:
    """Print a decision: what was decided, why, and which version is the champion now."""
    lines = [
        f"{decision['decision_id']}: {decision['decision']}",
        decision["reason"],
        f"champion: version {_version(decision['champion'])}",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
