"""The filter stage: which of the profiled prompts are trained on, with a reason for each."""

import time
from collections import Counter
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipeline_lib.config import digest
from pipeline_lib.prompts import load_source
from pipeline_lib.records import DifficultyEstimate, Selection
from pipeline_lib.runs.session import RunSession
from pipeline_lib.selection.training_prompts import overlong_prompts, select_training_prompts
from tasks.artifacts import publish_table
from tasks.profile_prompts import profile_prompts

STAGE = "filter"


@task(name="filter", cache_policy=NO_CACHE)
def filter_prompts(run: RunSession) -> dict[str, Any]:
    """Select the training prompts. Raises ValueError when the run has no profile, or nothing is selected."""
    fingerprint = run.fingerprint(STAGE)
    stored = None if run.force else run.stored_result(STAGE, "", fingerprint)
    if stored and stored["run_id"] == run.run_id:
        return {**stored["summary"], "skipped": True}
    if run.config.profile.origin != "sampled":
        profile_prompts.fn(run)  # needs no model, so that a filter alone can be asked for
    started = time.monotonic()
    estimates = [
        DifficultyEstimate(**{key: row[key] for key in DifficultyEstimate.__slots__})
        for row in run.store.named("difficulty_of_run", run_id=run.run_id)
    ]
    if not estimates:
        raise ValueError(
            f"run {run.run_id} has no difficulty profile yet: run 'laconic profile' with the same configuration first"
        )
    selections = _select(run, estimates)
    run.store.replace("selections", {"run_id": run.run_id}, selections)
    selected = sorted(selection.prompt_id for selection in selections if selection.selected)
    counts = Counter("cleaned_out" if _is_cleaned(selection) else selection.subset for selection in selections)
    summary = {
        "num_prompts": len(selections),
        "num_selected": len(selected),
        **{f"num_{name}": count for name, count in sorted(counts.items())},
        "selection_digest": digest(selected)[:16],
    }
    run.record_stage(STAGE, "", fingerprint, time.monotonic() - started, summary)
    causes = Counter((selection.selected, selection.cause, selection.subset) for selection in selections)
    table = [
        {"selected": kept, "cause": cause, "subset": subset, "prompts": count}
        for (kept, cause, subset), count in sorted(causes.items())
    ]
    publish_table(run.config.name, "selection", table, "Which prompts were selected, and why")
    run.track(STAGE)
    return summary


def _select(run: RunSession, estimates: list[DifficultyEstimate]) -> list[Selection]:
    content = load_source(run.config.prompts)
    run.store.write("prompts", [left.prompt for left in content.left_out])
    too_long = overlong_prompts(run.config, run.base.location, list(content.prompts.values()))
    return select_training_prompts(run.config, run.run_id, content, estimates, too_long)


def _is_cleaned(selection: Selection) -> bool:
    return selection.cause not in ("pass_rate", "no_pass_rate")
