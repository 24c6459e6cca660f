"""`laconic up`, `down`, `deploy`, `work`: servers, worker; `retrain`, `promote`, `rollback`: a champion; `relocate`, `compact`: a home."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.terminal import ConfigPath, Force, Overrides, Panel, say
from flows.server.temporary import server_starting
from pipeline_lib.config import laconic_home, load_config

commands = typer.Typer()

Slots = Annotated[
    int | None,
    typer.Option(
        min=1, help="Flows that may use an engine at once (the gpu limit); default: one with a GPU, else one for two CPU cores."
    ),
]


@commands.command(rich_help_panel=Panel.OPERATE)
def up(
    prefect_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Prefect server.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the MLflow server.")] = 5000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that other machines reach needs --password-file.")
    ] = "127.0.0.1",
    password_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Ask for the password in this file's first line; only its owner may read it (mode 600)."
        ),
    ] = None,
    slots: Slots = None,
) -> None:
    """Start a Prefect server, an MLflow server and a worker over the home, with all deployments; stay until Ctrl-C."""
    from flows.server.addresses import Addresses
    from flows.server.up import bring_up, default_slots

    bring_up(laconic_home(), Addresses(host, prefect_port, mlflow_port), slots or default_slots(), password_file, say)


@commands.command(rich_help_panel=Panel.OPERATE)
def down() -> None:
    """End everything that 'laconic up' runs over the home: flows first, so that they can be resumed."""
    from pipeline_lib.services.running import end_services

    say("everything has ended" if end_services(laconic_home()) else f"nothing is up over {laconic_home()}")


@commands.command(rich_help_panel=Panel.OPERATE)
def deploy(slots: Slots = None) -> None:
    """Register the work pool, the gpu limit and the deployments with the server at PREFECT_API_URL; 'up' does it by itself."""
    from flows.server.environment import server_address
    from flows.server.up import default_slots

    if not server_address():
        raise ValueError("deploy needs a Prefect server: set PREFECT_API_URL, or use 'laconic up', which starts one")
    from flows.server.deploy import register_deployments

    names = register_deployments(laconic_home(), slots or default_slots())
    say(f"{len(names)} deployments: {', '.join(names)}")


@commands.command(rich_help_panel=Panel.OPERATE)
def work(
    settle: Annotated[
        bool,
        typer.Option(
            "--settle", help="First mark as ended what an earlier worker left as running: right for a server's only worker."
        ),
    ] = False,
) -> None:
    """Run a worker for the server at PREFECT_API_URL in the foreground: what containers and further machines do.

    Terminated (Ctrl-C, SIGTERM) it ends its flows first, so that they can be resumed.
    """
    from flows.server.environment import server_address

    if not server_address():
        raise ValueError("work needs a Prefect server: set PREFECT_API_URL, or use 'laconic up', which starts one and a worker")
    from flows.server.work import work_until_told

    raise typer.Exit(work_until_told(laconic_home(), settle, say))


@commands.command(rich_help_panel=Panel.OPERATE)
def retrain(config: ConfigPath, overrides: Overrides = [], force: Force = False) -> None:  # noqa: B006
    """Train from the champion, hold the result against it, and promote it if it passes the gate (docs/gate.md)."""
    settings = load_config(config, overrides)  # a mistake is told before Prefect has started
    with server_starting():
        from flows.retraining import retraining_flow
    _show(retraining_flow(lambda *_: settings)(config, overrides=overrides, force=force))


@commands.command(rich_help_panel=Panel.OPERATE)
def promote(run_id: Annotated[str, typer.Argument(help="A finished run that was trained from the champion.")]) -> None:
    """Hold a finished run against the champion, by the same gate, and promote it if it passes."""
    with server_starting():
        from flows.retraining import run_promotion
    _show(run_promotion(run_id))


@commands.command(rich_help_panel=Panel.OPERATE)
def rollback(model: Annotated[str, typer.Argument(help="Name of the model in the registry.")]) -> None:
    """Make the previous champion the champion again."""
    with server_starting():
        from flows.retraining import run_rollback
    _show(run_rollback(model))


def _show(decision: dict[str, Any]) -> None:
    say(f"{decision['decision_id']}: {decision['decision']}")
    say(decision["reason"])
    say(f"champion: version {'–' if decision['champion'] is None else decision['champion']}")


@commands.command(rich_help_panel=Panel.OPERATE)
def relocate(
    former: Annotated[Path, typer.Argument(metavar="FORMER_HOME", help="Absolute path that the home had before.")],
) -> None:
    """After moving a home: make the paths of checkpoints and models in its databases point into it again."""
    from pipeline_lib.runs.relocation import relocate_home

    for place, count in relocate_home(laconic_home(), former).items():
        say(f"{place}: {count}")


@commands.command(rich_help_panel=Panel.OPERATE)
def compact() -> None:
    """Make few large files of the rollouts of every run, which SQL reads faster; runs do it themselves, but older ones have not."""
    from pipeline_lib.runs.compacted import compact_home

    for run_id, fewer in compact_home(laconic_home()).items():
        say(f"{run_id}: {'is being worked on' if fewer is None else f'{fewer} files fewer'}")
