"""The page of a finding: figure, tables, claims and verdict, from what is stored."""

from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipeline_lib.config import laconic_home
from pipeline_lib.experiments.specification import ExperimentConfig


@task(name="write-finding", cache_policy=NO_CACHE)
def write_finding(experiment: ExperimentConfig, seeds: tuple[int, ...], folder: Path | None) -> dict[str, Any]:
    """Write the page into `folder`, by default reports/experiments/NAME in the home."""
    return {"page": str(laconic_home())}
