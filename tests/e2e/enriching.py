"""A copy of a smoke home that also holds what a single small run has not: a control, an alarm, an experiment, a promotion, a fleet."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline_lib.records import Alarm, FleetEvent
from pipeline_lib.store.database import Store
from pipeline_lib.store.rollout_files import read_rollout_file, write_rollout_file

CONTROL = "smoke-control-00000000"


def enriched_copy(home: Path, copy: Path) -> Path:
    """Copy tables and rollouts of a home in which the smoke run is done, and add to them; returns the copy."""
    copy.mkdir(parents=True)
    shutil.copy(home / "laconic.duckdb", copy)
    shutil.copytree(home / "rollouts", copy / "rollouts")
    store = Store(copy)
    [run] = [row for row in store.named("named_runs") if row["name"] == "smoke"]
    _add_control(store, store.named("run", run_id=run["run_id"])[0])
    store.write("fleet_events", list(_fleet_events(run["run_id"])))
    store.write("alarms", [Alarm(run["run_id"], 4, "entropy_spike", 0.2, 0.1)])
    key = {"experiment": "x", "arm": "reward", "seed": 0}
    metrics = {"tokens": 40.0, "accuracy@48": 0.5, "entropy.max": 0.1}
    store.write("experiment_metrics", [{**key, "metric": name, "value": value} for name, value in metrics.items()])
    _add_decision(store, run["run_id"])
    return copy


def _fleet_events(run_id: str) -> Iterator[FleetEvent]:
    """An engine that generates for two seconds, and a trainer that then trains for one."""
    began = datetime(2026, 1, 1, tzinfo=UTC)
    for actor, kind, after, seconds in (
        *(("generator-0", "started", 0, None), ("trainer-0", "started", 0, None)),
        *(("generator-0", "generated", 1, 2.0), ("trainer-0", "updated", 3, 1.0)),
    ):
        batch = 1 if seconds else None
        yield FleetEvent(run_id, began + timedelta(seconds=after), actor, "node", kind, "step 0", batch, seconds, "")


def _add_control(store: Store, run: dict[str, object]) -> None:
    run_id = str(run["run_id"])
    told = {"run_id": CONTROL, "name": "smoke-control", "control_of": run_id, "mlflow_run_id": None}
    store.write("runs", [{"run_id": run_id, "name": "smoke", "mlflow_run_id": None}, {**run, **told}])
    for table in ("training_steps", "budget_results", "stage_results"):
        store.copy_rows(table, run_id, CONTROL)
    for file in (store.rollouts_folder / run_id).glob("*/*.parquet"):
        rollouts = [replace(rollout, run_id=CONTROL) for rollout in read_rollout_file(file)]
        write_rollout_file(store.rollouts_folder / CONTROL / file.parent.name / file.name, rollouts)


def _add_decision(store: Store, run_id: str) -> None:
    decision = {
        "decision_id": "smoke/1",
        "model_name": "smoke",
        "number": 1,
        "kind": "retrain",
        "decision": "kept",
        "cause": "no_gain",
        "reason": "Nothing was gained.",
        "run_id": run_id,
        "token_change": -0.01,
        "accuracy_difference": 0.0,
        "decided_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    store.write("promotions", [decision])
    row = {"decision_id": "smoke/1", "benchmark": "tiny-sum", "num_prompts": 48, "passed": True}
    numbers = {"champion_accuracy": 0.5, "challenger_accuracy": 0.5, "difference": 0.0, "ci_low": -0.01, "ci_high": 0.01}
    store.write("promotion_budgets", [{**row, **numbers, "budget_tokens": budget} for budget in (48, 96)])
