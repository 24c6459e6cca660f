"""The page of a finding: figures, tables, claims and verdict, from what is stored."""

from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipeline_lib.config import laconic_home
from pipeline_lib.experiments.page import write_page
from pipeline_lib.experiments.results import collect_results
from pipeline_lib.experiments.specification import ExperimentConfig
from pipeline_lib.files.home import below
from pipeline_lib.store.database import Store
from tasks.artifacts import publish_image, publish_markdown


@task(name="write-finding", cache_policy=NO_CACHE)
def write_finding(experiment: ExperimentConfig, seeds: tuple[int, ...], folder: Path | None) -> dict[str, Any]:
    """Write the page into `folder`, by default reports/experiments/NAME in the home; child runs that are missing are named in it."""
    results = collect_results(Store(laconic_home()), experiment, seeds)
    page, verdict, pictures = write_page(results, folder or below(laconic_home(), "reports", "experiments", experiment.name))
    publish_markdown(experiment.name, "finding", page.read_text(encoding="utf-8"), f"{experiment.finding}: {verdict}")
    for picture in pictures:
        publish_image(experiment.name, picture, picture.stem.replace("-", " "))
    return {"page": str(page), "verdict": verdict}
