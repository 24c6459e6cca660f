"""The warm-up stage: trains the built-in tiny model from scratch and judges it by the gate."""

from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipeline_lib.config import WarmupConfig
from tasks.artifacts import publish_table
from tasks.progress import stage_progress


@task(name="warmup", cache_policy=NO_CACHE)
def warm_up_model(config: WarmupConfig, folder: Path) -> dict[str, Any]:
    """Train a base model into `folder`; a failed gate is a result with reasons, not an exception."""
    from pipeline_lib.tiny_world.warmup import run_warmup

    with stage_progress(config.name, "warmup") as progress:
        result = run_warmup(
            config, folder, lambda tokens, loss: progress.update(tokens, config.train_tokens, f"loss {loss:.3f}")
        )
    rows = [
        {"family": family, "accuracy": figures.accuracy, "mean_tokens": figures.mean_tokens, **figures.line_accuracy}
        for family, figures in result.gate.items()
    ]
    publish_table(config.name, "warmup-gate", rows, "Sampled accuracy, length and right lines by style after the warm-up")
    return {"folder": str(result.folder), "passed": result.passed, "reasons": result.reasons, "figures": rows}
