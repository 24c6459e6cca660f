"""`laconic experiment`: the child runs of an experiment as flows of their own, on shared workers, then its page."""

import logging
import os
import time
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import wait
from prefect.task_runners import ThreadPoolTaskRunner

from flows.runs import opened
from pipeline_lib.config import RunConfig, laconic_home
from pipeline_lib.experiments.specification import ChildRun, ExperimentConfig, child_runs, experiment_file, load_experiment
from pipeline_lib.session import RunSession
from pipeline_lib.worker.pool import WorkerPool
from tasks.evaluate_budgets import evaluate_budgets
from tasks.filter_prompts import filter_prompts
from tasks.profile_prompts import profile_prompts
from tasks.record_experiment import is_recorded, record_child
from tasks.train_policy import train_policy
from tasks.write_finding import write_finding

logger = logging.getLogger(__name__)

_lent: dict[str, RunSession] = {}


@flow(name="laconic-experiment", flow_run_name="experiment-{name}", log_prints=True)
def run_experiment(
    name: str,
    seeds: list[int] | None = None,
    overrides: list[str] | None = None,
    lanes: int | None = None,
    force: bool = False,
    pages: str | None = None,
) -> dict[str, Any]:
    """Run every arm of an experiment at every seed, store the results, and write the page of the finding.

    What is done already is not done again: an interrupted experiment goes on where it stopped. `lanes` child runs go side by
    side (default: one a two CPU cores' worth of threads, or one on a GPU). `pages` is the folder of the page.
    """
    experiment = load_experiment(name)
    chosen = tuple(seeds if seeds is not None else experiment.seeds)
    children = child_runs(experiment, experiment_file(name), chosen, tuple(overrides or ()))
    missing = [child for child in children if force or not is_recorded(child)]
    started = time.monotonic()
    if missing:
        _run_children(missing, lanes or default_lanes(missing[0].config), force)
    return {
        "child_runs": len(children),
        "ran": len(missing),
        "seconds": time.monotonic() - started,
        **write_finding(experiment, chosen, Path(pages) if pages else None),
    }


def _run_children(children: list[ChildRun], lanes: int, force: bool) -> None:
    home = laconic_home()
    bases = {child.config.base_model: RunSession(child.config).base.location for child in children}
    pool = WorkerPool([child.config for child in children], bases, home, lanes)
    run_one = _child_task.with_options(task_run_name="{child.config.name}")
    runner = ThreadPoolTaskRunner(max_workers=lanes)
    at_once = True
    try:
        with runner:
            futures = [runner.submit(run_one, {"child": child, "pool": pool, "force": force}) for child in children]
            wait(futures)
        failed = [child for child, future in zip(children, futures, strict=True) if future.state.is_failed()]
        at_once = False
    finally:
        pool.close(at_once)
    if failed:
        errors = [future.state.result(raise_on_failure=False) for future in futures if future.state.is_failed()]
        lines = [f"{child.config.name}: {error}" for child, error in zip(failed, errors, strict=True)]
        raise RuntimeError(
            f"{len(failed)} of {len(children)} child runs failed; the same command runs them again\n" + "\n".join(lines)
        ) from errors[0]


@task(name="experiment-child", cache_policy=NO_CACHE)
def _child_task(child: ChildRun, pool: WorkerPool, force: bool) -> None:
    with pool.worker(child.config) as worker:
        session = RunSession(child.config, force=force)
        session.lend_worker(worker)
        _lent[session.run_id] = session
        started = time.monotonic()
        run_child(child.config.model_dump(mode="json"))
        record_child.fn(child, session, time.monotonic() - started)


@flow(name="laconic-experiment-run", flow_run_name="{config[name]}")
def run_child(config: dict[str, Any]) -> dict[str, Any]:
    """One arm at one seed: profile, filter, train, evaluate. What is stored for the same inputs is taken over."""
    settings = RunConfig.model_validate(config)
    with opened([_lent.pop(settings.run_id, None) or RunSession(settings)]) as runs:
        for run in runs:
            profile_prompts(run)
            filter_prompts(run)
            train_policy(run)
        evaluate_budgets(runs)
        return {"run_id": settings.run_id}


def default_lanes(config: RunConfig) -> int:
    """Child runs side by side: as many as the CPU cores bear, one where there is a GPU."""
    if Path("/dev/nvidia0").exists():
        return 1
    return max(1, (os.cpu_count() or 1) // (config.train.num_threads * config.train.num_processes))
