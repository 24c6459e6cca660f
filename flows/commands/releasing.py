"""`laconic export-model` and `serve`: a trained model leaves the home; no flow, since nothing is stored."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.terminal import Panel, console, say, text_table
from pipeline_lib.config import laconic_home

commands = typer.Typer()

MODEL = "A run (its best checkpoint), MODEL@ALIAS such as mine@champion, or models:/MODEL/VERSION."


@commands.command("export-model", rich_help_panel=Panel.OPERATE)
def export_model(
    model: Annotated[str, typer.Argument(metavar="RUN|MODEL@ALIAS", help=MODEL)],
    folder: Annotated[Path, typer.Argument(help="A folder that is not there yet, or empty.")],
    to: Annotated[
        str | None, typer.Option("--to", metavar="hub:OWNER/NAME", help="Upload it to the hub, too, by your own login.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="With --to: a new repository is for everybody to see.")] = False,
) -> None:
    """Write a trained model as a folder: safetensors, tokenizer, generation settings, and a card made from the store."""
    from pipeline_lib.release.folder import export_model as export
    from pipeline_lib.release.hub import hub_id, upload
    from pipeline_lib.store.database import Store

    repository = hub_id(to) if to else None  # a mistake is told before gigabytes are copied
    facts = export(Store(laconic_home()), model, folder, may_be_there=repository is not None)
    say(f"{facts.run_id}, step {facts.step}: {folder}")
    say(facts.recommendation)
    if repository:
        say(upload(folder, repository, public))


@commands.command(rich_help_panel=Panel.OPERATE, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def serve(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="RUN|MODEL@ALIAS|FOLDER", help=f"{MODEL} Or a model folder.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that other machines reach needs VLLM_API_KEY.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the server.")] = 8000,
) -> None:
    """Serve a trained model by vLLM's OpenAI-compatible server, sampled as it was judged. Further options are vLLM's own."""
    from pipeline_lib.release.serving import become_server, find_served, server_command
    from pipeline_lib.store.database import Store

    served = find_served(Store(laconic_home()), model)
    command = server_command(served, host, port, context.args)
    if served.facts:
        console.print(text_table(f"{served.name}: how it was judged", *served.facts.table()))
        say(f"recommended: {served.facts.recommendation}")
    else:
        say(f"{served.folder} says nothing of how it was judged: 'laconic export-model' writes folders that do")
    say(f"model {served.name!r} at http://{host}:{port}/v1 once it is loaded; Ctrl-C ends it")
    become_server(command)
