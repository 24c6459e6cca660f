"""The whole protocol: profile → filter → train (with checkpoints) → evaluate → register → report."""

from typing import Any

from prefect import flow

from flows.runs import opened_runs, start_workers
from flows.stages import train_all
from tasks.evaluate_budgets import evaluate_budgets
from tasks.filter_prompts import filter_prompts
from tasks.profile_prompts import profile_prompts
from tasks.register_model import register_model
from tasks.write_report import write_report


@flow(name="laconic-pipeline", log_prints=True)
def run_pipeline(config: str, overrides: list[str] | None = None, force: bool = False) -> dict[str, Any]:
    """Run every stage of a configuration file, and of its control; what is stored for the same inputs is not done again.

    `overrides` are `section.key=value`; `force` does every stage again. Returns run ids and the report's path.
    """
    start_workers(config, overrides or [], force)
    with opened_runs(config, overrides or [], force) as runs:
        for run in runs:
            profile_prompts(run)
            filter_prompts(run)
        train_all(runs)
        for control in runs[1:]:
            control.close_worker()
        evaluate_budgets(runs)
        for run in runs:
            register_model(run)
        return {"run_ids": [run.run_id for run in runs], **write_report(runs[0], runs[1:])}
