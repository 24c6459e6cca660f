"""The rows of an experiment: which child run is which arm, and the metrics its claims are judged by."""

from collections.abc import Mapping

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipeline_lib.config import laconic_home
from pipeline_lib.experiments.metrics import child_metrics
from pipeline_lib.experiments.specification import ChildRun
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages.train import note_dynamics
from pipeline_lib.store.database import Store


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
