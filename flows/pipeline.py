"""The whole protocol: profile → filter → train (with checkpoints) → evaluate → register → report."""

from typing import Any

from prefect import flow

from flows.parameters import NO_CHANGES, Changes, ConfigFile, overrides_of
from flows.runs import HOOKS, opened_runs
from flows.stages import train_all
from pipeline_lib.runs.session import RunSession
from tasks.evaluate_budgets import evaluate_budgets
from tasks.filter_prompts import filter_prompts
from tasks.profile_prompts import profile_prompts
from tasks.register_model import register_model
from tasks.write_report import write_report


@flow(name="laconic-pipeline", flow_run_name="{config}", log_prints=True, **HOOKS)
def run_pipeline(
    config: ConfigFile, changes: Changes = NO_CHANGES, overrides: list[str] | None = None, force: bool = False
) -> dict[str, Any]:
    """Run every stage of a configuration file, and of its control; what is stored for the same inputs is not done again.

    Args:
        config: The configuration file
        changes: What is changed in it
        overrides: Further changes, each section.key=value
        force: Do every stage again

    Returns run ids and the report's path.
    """
    with opened_runs(config, overrides_of(changes, overrides), force, start_early=True) as runs:
        return run_stages(runs)


def run_stages(runs: list[RunSession]) -> dict[str, Any]:
    """Every stage of a run and of its controls, from the profile to the report."""
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
