"""The filter stage: which of the profiled prompts are trained on, with a reason for each."""

import time
from collections import Counter
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipeline_lib.difficulty import select_prompts
from pipeline_lib.records import DifficultyEstimate
from pipeline_lib.session import RunSession
from tasks.artifacts import publish_table

STAGE = "filter"


@task(name="filter", cache_policy=NO_CACHE)
def filter_prompts(run: RunSession) -> dict[str, Any]:
    """Select the training prompts. Raises ValueError when the run has no profile, or nothing is selected."""
    fingerprint = run.fingerprint(STAGE)
    stored = None if run.force else run.stored_result(STAGE, "", fingerprint)
    if stored and stored["run_id"] == run.run_id:
        return {**stored["summary"], "skipped": True}
    started = time.monotonic()
    estimates = [
        DifficultyEstimate(**{key: row[key] for key in DifficultyEstimate.__slots__})
        for row in run.store.named("difficulty_of_run", run_id=run.run_id)
    ]
    if not estimates:
        raise ValueError(
            f"run {run.run_id} has no difficulty profile yet: run 'laconic profile' with the same configuration first"
        )
    selections = select_prompts(estimates, run.config.filter)
    run.store.replace("selections", {"run_id": run.run_id}, selections)
    classes = Counter(selection.subset for selection in selections)
    selected = sum(selection.selected for selection in selections)
    summary = {"num_prompts": len(selections), "num_selected": selected, **{f"num_{name}": n for name, n in classes.items()}}
    run.record_stage(STAGE, "", fingerprint, time.monotonic() - started, summary)
    reasons = Counter((selection.selected, selection.reason) for selection in selections)
    table = [{"selected": kept, "reason": reason, "prompts": count} for (kept, reason), count in sorted(reasons.items())]
    publish_table(run.config.name, "selection", table, "Which prompts were selected, and why")
    run.track(STAGE, summary)
    return summary
