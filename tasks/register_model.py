"""The register stage: the best checkpoint becomes a version in the MLflow registry, under the alias `challenger`."""

import time
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipeline_lib.runs.session import RunSession
from pipeline_lib.training.checkpoint_files import require_model

ALIAS = "challenger"


@task(name="register", cache_policy=NO_CACHE)
def register_model(run: RunSession) -> dict[str, Any]:
    """Register a run's best checkpoint; with the tracker out of reach, say so and go on."""
    started = time.monotonic()
    best = [row for row in run.store.named("checkpoints_of_run", run_id=run.run_id) if row["is_best"]]
    if not best:
        raise ValueError(f"run {run.run_id} has no checkpoint yet: run 'laconic train' with the same configuration first")
    checkpoint = best[-1]
    model = require_model(Path(checkpoint["path"]), run.run_id)
    name = run.config.tracking.registered_model or run.config.name
    stored = run.store.named("run", run_id=run.run_id)[0]
    tags = {
        "laconic.run_id": run.run_id,
        "laconic.step": checkpoint["step"],
        "laconic.control_of": run.control_of or "",
        "prefect.flow_run_id": stored["prefect_flow_run_id"] or "",
    }
    child = run.tracker.start_child(run.mlflow_run_id, "register")
    version = run.tracker.register_model(model, name, child or run.mlflow_run_id, ALIAS, tags)
    run.tracker.finish(child)
    if version is None:
        return {"registered": False}
    registered = {**checkpoint, "model_name": version.name, "model_version": int(version.version)}
    run.store.write("checkpoints", [registered])
    summary = {"registered": True, "model": version.name, "version": int(version.version), "step": checkpoint["step"]}
    run.record_stage("register", "", run.fingerprint("train"), time.monotonic() - started, summary)
    return summary
