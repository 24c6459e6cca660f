"""The command line: `laconic COMMAND`. Prefect and everything heavy is imported by the command that needs it."""

import sys

import typer

from flows.commands import looking, operating, preparing, releasing, stages
from flows.commands.ending import end, end_as_told, end_with_error, keep_terminal_quiet
from flows.server.environment import prepare_environment
from flows.server.termination import end_when_told, termination_requested
from pipeline_lib.config import laconic_home
from pipeline_lib.messages.faults import require_writable
from pipeline_lib.messages.harmless import make_messages_harmless
from pipeline_lib.processes import collect_garbage_rarely

app = typer.Typer(
    name="laconic",
    help="Train reasoning models to think briefly and still be right. Five commands to begin with: doctor, check, run, report, sql.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    result_callback=lambda _: _say_what_is_missing(),
)


# Commands that work on a home that cannot be written; where it can, they first note the runs that a killed command has left.
READING = ("sql", "show", "results", "export", "promotions", "export-model", "serve")
# Commands that need no writable home.
ELSEWHERE = ("check", "doctor", "down", "grade", "init", "preview", "prompts")


def main() -> None:
    """Entry point: whatever goes wrong is one line on stderr, with exit status 1, or 143 and 130 for SIGTERM and Ctrl-C."""
    try:
        collect_garbage_rarely()
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
    """Tell of a home that cannot be worked on before anything is started; end the runs that a killed command has left."""
    command = context.invoked_subcommand or ""
    if command in ELSEWHERE or "--help" in sys.argv:
        return
    home = laconic_home()
    if command in READING:
        from pipeline_lib.runs.crashed_runs import close_crashed_runs

        close_crashed_runs(home, retry_mlflow=False)
    else:
        require_writable(home)


def _say_what_is_missing() -> None:
    """A command that ended well, but for MLflow: RuntimeError with a line for each run."""
    from pipeline_lib.tracking import undelivered_notes

    if notes := undelivered_notes(laconic_home()):
        raise RuntimeError("\n".join(notes))


for module in (stages, looking, preparing, operating, releasing):
    app.add_typer(module.commands)


if __name__ == "__main__":
    main()
