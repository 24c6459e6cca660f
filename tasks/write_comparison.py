"""The page that compares runs, and the sessions of runs that are known to the store alone."""

from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipeline_lib.config import TrackingConfig, laconic_home, stored_config
from pipeline_lib.report.comparison.collect import collect_comparison
from pipeline_lib.report.comparison.page import comparison_folder
from pipeline_lib.report.comparison.page import write_comparison as write_html
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession
from pipeline_lib.store.database import Store
from pipeline_lib.tracking import Tracker, note_delivery
from tasks.artifacts import publish_image, publish_page


@task(name="compare", cache_policy=NO_CACHE)
def compare_runs(run_ids: list[str], out: str | None = None) -> dict[str, Any]:
    """Write the page about some runs into `out`, by default reports/compare-DIGEST in the home."""
    home = laconic_home()
    store = Store(home)
    name = comparison_folder(home, run_ids).name
    page = write_html(collect_comparison(store, run_ids), Path(out) if out else comparison_folder(home, run_ids))
    pictures = sorted(page.parent.glob("*.png"))
    for picture in pictures:
        publish_image(name, picture, picture.stem.replace("_", " "))
    publish_page(name, page, _keep_in_mlflow(store, run_ids[0], name, [page, *pictures]))
    return {"report": str(page), "run_ids": run_ids}


def _keep_in_mlflow(store: Store, run_id: str, name: str, files: list[Path]) -> str | None:
    """Send the files to a child of the first run's MLflow run; returns the child's address where MLflow has pages."""
    run = store.named("run", run_id=run_id)[0]
    if not run["mlflow_run_id"]:
        return None
    tracker = Tracker(stored_config(run["config"].get("tracking", {}), TrackingConfig), store.home)
    child = tracker.start_child(run["mlflow_run_id"], name)
    tracker.log_artifacts(child, files, "report")
    address = tracker.run_address(child)
    tracker.finish(child)
    tracker.flush()
    note_delivery(store.home, name, tracker)
    return address


def stored_sessions(run_id: str) -> list[RunSession]:
    """A run and its controls, from the configurations in the store: no configuration file is needed."""
    store = Store(laconic_home())
    controls = [row["run_id"] for row in store.named("named_runs") if row["control_of"] == run_id]
    sessions = []
    for row in store.named("runs_of_ids", run_ids=[run_id, *controls]):
        if "train" not in row["config"]:
            raise ValueError(f"run {run_id!r} holds recorded rollouts, not a training run: 'laconic results {run_id}' shows it")
        sessions.append(RunSession(Run.stored(row)))
    return sessions
