"""An experiment in the store and on its page: which child run is which arm, the metrics its claims are judged by, the finding."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipeline_lib.config import laconic_home
from pipeline_lib.experiments.metrics import child_metrics
from pipeline_lib.experiments.page import write_page
from pipeline_lib.experiments.results import collect_results
from pipeline_lib.experiments.specification import ChildRun, ExperimentConfig
from pipeline_lib.files.home import below
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages.train import note_dynamics
from pipeline_lib.store.database import Store
from tasks.artifacts import publish_image, publish_markdown


@task(name="record-child", cache_policy=NO_CACHE)
def record_child(child: ChildRun, session: RunSession, seconds: float) -> dict[str, float | None]:
    """Store a finished child run under its experiment, with its metrics."""
    metrics = child_metrics(session.store, session.run)
    key = {"experiment": child.experiment, "arm": child.arm.name, "seed": child.seed}
    row = {
        **key,
        "run_id": session.run.run_id,
        "finding": child.finding,
        "label": child.arm.label,
        "position": child.position,
        "settings": child.arm.set,
        "status": "completed",
        "seconds": seconds,
    }
    _store_metrics(child, metrics, session.store)
    session.store.write("experiments", [row])
    return metrics


def refresh_child(child: ChildRun) -> None:
    """Compute phases, alarms and metrics of a recorded child run anew: they follow the code that writes the page."""
    session = RunSession(Run.of(child.config))
    note_dynamics(session)
    _store_metrics(child, child_metrics(session.store, session.run), session.store)


def _store_metrics(child: ChildRun, metrics: Mapping[str, float | None], store: Store) -> None:
    key = {"experiment": child.experiment, "arm": child.arm.name, "seed": child.seed}
    store.replace("experiment_metrics", key, [{**key, "metric": name, "value": value} for name, value in metrics.items()])


def is_recorded(child: ChildRun) -> bool:
    """Whether this very child run, by its configuration, is done and recorded."""
    rows = Store(laconic_home()).named("experiment_children", experiment=child.experiment)
    return any(
        (row["arm"], row["seed"], row["run_id"], row["status"])
        == (child.arm.name, child.seed, child.config.run_id, "completed")
        for row in rows
    )


@task(name="write-finding", cache_policy=NO_CACHE)
def write_finding(experiment: ExperimentConfig, seeds: tuple[int, ...], folder: Path | None) -> dict[str, Any]:
    """Write the page into `folder`, by default reports/experiments/NAME in the home; child runs that are missing are named in it."""
    results = collect_results(Store(laconic_home()), experiment, seeds)
    page, verdict, pictures = write_page(results, folder or below(laconic_home(), "reports", "experiments", experiment.name))
    publish_markdown(experiment.name, "finding", page.read_text(encoding="utf-8"), f"{experiment.finding}: {verdict}")
    for picture in pictures:
        publish_image(experiment.name, picture, picture.stem.replace("-", " "))
    return {"page": str(page), "verdict": verdict}
