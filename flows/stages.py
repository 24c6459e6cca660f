"""Each stage as a flow of its own: it works from what earlier stages stored, on the run and on its control."""

from typing import Any

from prefect import flow
from prefect.futures import wait

from flows.runs import opened_runs
from pipeline_lib.session import RunSession
from tasks.evaluate_budgets import evaluate_budgets
from tasks.filter_prompts import filter_prompts
from tasks.profile_prompts import profile_prompts
from tasks.register_model import register_model
from tasks.train_policy import train_policy
from tasks.write_report import write_report


@flow(name="laconic-profile", log_prints=True)
def run_profile(config: str, overrides: list[str] | None = None, force: bool = False) -> list[dict[str, Any]]:
    """Sample N rollouts of the base model for every prompt and store its pass rate and lengths."""
    with opened_runs(config, overrides or [], force) as runs:
        return [profile_prompts(run) for run in runs]


@flow(name="laconic-filter", log_prints=True)
def run_filter(config: str, overrides: list[str] | None = None, force: bool = False) -> list[dict[str, Any]]:
    """Select the training prompts by their pass rate."""
    with opened_runs(config, overrides or [], force) as runs:
        return [filter_prompts(run) for run in runs]


@flow(name="laconic-train", log_prints=True)
def run_train(config: str, overrides: list[str] | None = None, force: bool = False) -> list[dict[str, Any]]:
    """Train with the length-aware reward, and the control beside it; an interrupted training goes on."""
    with opened_runs(config, overrides or [], force) as runs:
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


@flow(name="laconic-evaluate", log_prints=True)
def run_evaluate(config: str, overrides: list[str] | None = None, force: bool = False) -> dict[str, Any]:
    """Score the base and the trained models at every token budget."""
    with opened_runs(config, overrides or [], force) as runs:
        return evaluate_budgets(runs)


@flow(name="laconic-register", log_prints=True)
def run_register(config: str, overrides: list[str] | None = None, force: bool = False) -> list[dict[str, Any]]:
    """Register the best checkpoint in MLflow as the challenger."""
    with opened_runs(config, overrides or [], force) as runs:
        return [register_model(run) for run in runs]


@flow(name="laconic-report", log_prints=True)
def run_report(config: str, overrides: list[str] | None = None, force: bool = False) -> dict[str, Any]:
    """Write the report of the run beside its control."""
    with opened_runs(config, overrides or [], force) as runs:
        return write_report(runs[0], runs[1:])
