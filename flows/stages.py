"""Each stage as a flow of its own: it works from what earlier stages stored, on the run and on its control."""

from typing import Any

from prefect import flow
from prefect.futures import wait

from flows.parameters import NO_CHANGES, Changes, ConfigFile, overrides_of
from flows.runs import HOOKS, opened_runs
from pipeline_lib.runs.session import RunSession
from tasks.evaluate_budgets import evaluate_budgets
from tasks.filter_prompts import filter_prompts
from tasks.profile_prompts import profile_prompts
from tasks.register_model import register_model
from tasks.train_policy import train_policy
from tasks.write_report import write_report


@flow(name="laconic-profile", flow_run_name="{config}", log_prints=True, **HOOKS)
def run_profile(
    config: ConfigFile, changes: Changes = NO_CHANGES, overrides: list[str] | None = None, force: bool = False
) -> list[dict[str, Any]]:
    """Sample N rollouts of the base model for every prompt and store its pass rate and lengths.

    Args:
        config: The configuration file
        changes: What is changed in it
        overrides: Further changes, each section.key=value
        force: Do it again even when a result for the same inputs is stored
    """
    with opened_runs(config, overrides_of(changes, overrides), force) as runs:
        return [profile_prompts(run) for run in runs]


@flow(name="laconic-filter", flow_run_name="{config}", log_prints=True, **HOOKS)
def run_filter(
    config: ConfigFile, changes: Changes = NO_CHANGES, overrides: list[str] | None = None, force: bool = False
) -> list[dict[str, Any]]:
    """Select the training prompts by their pass rate.

    Args:
        config: The configuration file
        changes: What is changed in it
        overrides: Further changes, each section.key=value
        force: Do it again even when a result for the same inputs is stored
    """
    with opened_runs(config, overrides_of(changes, overrides), force, uses_engine=False) as runs:
        return [filter_prompts(run) for run in runs]


@flow(name="laconic-train", flow_run_name="{config}", log_prints=True, **HOOKS)
def run_train(
    config: ConfigFile, changes: Changes = NO_CHANGES, overrides: list[str] | None = None, force: bool = False
) -> list[dict[str, Any]]:
    """Train with the length-aware reward, and the control beside it; an interrupted training run resumes.

    Args:
        config: The configuration file
        changes: What is changed in it
        overrides: Further changes, each section.key=value
        force: Do it again even when a result for the same inputs is stored
    """
    with opened_runs(config, overrides_of(changes, overrides), force) as runs:
        return train_all(runs)


def train_all(runs: list[RunSession]) -> list[dict[str, Any]]:
    """Train a run and its control, at the same time if the configuration says so."""
    if not runs[0].config.control.side_by_side:
        return [_train_alone(run) for run in runs]
    futures = [train_policy.submit(run) for run in runs]
    wait(futures)  # one that fails must not end the other
    return [future.result() for future in futures]


def _train_alone(run: RunSession) -> dict[str, Any]:
    """Train, then free the accelerator for the next."""
    result = train_policy(run)
    run.close_worker()
    return result


@flow(name="laconic-evaluate", flow_run_name="{config}", log_prints=True, **HOOKS)
def run_evaluate(
    config: ConfigFile, changes: Changes = NO_CHANGES, overrides: list[str] | None = None, force: bool = False
) -> dict[str, Any]:
    """Score the base and the trained models at every token budget.

    Args:
        config: The configuration file
        changes: What is changed in it
        overrides: Further changes, each section.key=value
        force: Do it again even when a result for the same inputs is stored
    """
    with opened_runs(config, overrides_of(changes, overrides), force) as runs:
        return evaluate_budgets(runs)


@flow(name="laconic-register", flow_run_name="{config}", log_prints=True, **HOOKS)
def run_register(
    config: ConfigFile, changes: Changes = NO_CHANGES, overrides: list[str] | None = None, force: bool = False
) -> list[dict[str, Any]]:
    """Register the best checkpoint in MLflow as the challenger.

    Args:
        config: The configuration file
        changes: What is changed in it
        overrides: Further changes, each section.key=value
        force: Do it again even when a result for the same inputs is stored
    """
    with opened_runs(config, overrides_of(changes, overrides), force, uses_engine=False) as runs:
        return [register_model(run) for run in runs]


@flow(name="laconic-report", flow_run_name="{config}", log_prints=True, **HOOKS)
def run_report(
    config: ConfigFile, changes: Changes = NO_CHANGES, overrides: list[str] | None = None, force: bool = False
) -> dict[str, Any]:
    """Write the report of the run beside its control.

    Args:
        config: The configuration file
        changes: What is changed in it
        overrides: Further changes, each section.key=value
        force: Do it again even when a result for the same inputs is stored
    """
    with opened_runs(config, overrides_of(changes, overrides), force, uses_engine=False) as runs:
        return write_report(runs[0], runs[1:])
