"""The warm-up of the built-in tiny model as a flow."""

from pathlib import Path
from typing import Any

from prefect import flow

from flows.server.outages import outlive_server
from pipeline_lib.config import WarmupConfig, laconic_home, load_config
from pipeline_lib.files.home import below
from tasks.warm_up_model import warm_up_model


@flow(name="laconic-warmup", log_prints=True, on_running=[outlive_server])
def run_warmup(config: str, overrides: list[str] | None = None, output: str | None = None) -> dict[str, Any]:
    """Train a base model for the tiny world from scratch and judge it by the gate; returns its folder, verdict and reasons.

    Args:
        config: The configuration of a warm-up
        overrides: What is changed in it, each section.key=value
        output: Folder of the new model; empty: bases/ in the home
    """
    settings = load_config(config, overrides or [], model=WarmupConfig)
    folder = Path(output) if output else below(laconic_home(), "bases", f"{settings.name}-{settings.seed}")
    return warm_up_model(settings, folder)
