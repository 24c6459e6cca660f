"""`laconic experiment`: the child runs of an experiment as flows of their own, on shared workers, then its page."""

import logging
import os
import time
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, wait
from prefect.task_runners import ThreadPoolTaskRunner

from flows.parameters import Count, ExperimentName
from flows.runs import HOOKS, opened_in_flow
from flows.server.gpu_limit import accelerator_slot
from flows.server.outages import outlive_server
from flows.server.termination import noticing_termination
from pipeline_lib.config import RunConfig, digest, laconic_home
from pipeline_lib.experiments.specification import (
    ChildRun,
    ExperimentConfig,
    child_runs,
    experiment_file,
    load_experiment,
    with_overrides,
)
from pipeline_lib.fleet.pool import WorkerPool
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages import STAGES
from pipeline_lib.stages.pipeline import run_for_all
from pipeline_lib.tracking import runs_behind
from tasks.experiment import is_recorded, record_child, refresh_child, write_finding
from tasks.outbox import is_outage, outbox
from tasks.stage import do_stage

logger = logging.getLogger(__name__)

# A child run is neither registered nor reported on: the experiment's page tells of it.
CHILD_STAGES = ("profile", "filter", "train", "evaluate")


@flow(name="laconic-experiment", flow_run_name="experiment-{name}", log_prints=True, **HOOKS)
def run_experiment(
    name: ExperimentName,
    seeds: list[int] | None = None,
    overrides: list[str] | None = None,
    lanes: Count | None = None,
    force: bool = False,
    pages: str | None = None,
) -> list[dict[str, Any]]:
    """Run every arm of an experiment at every seed, store the results, and write the page of the finding.

    What is done already is not done again: an interrupted experiment resumes where it stopped.

    Args:
        name: The experiment
        seeds: Seeds of the child runs of each arm; empty: those that the experiment names
        overrides: Changes to every child run, each section.key=value
        lanes: Child runs side by side; empty: by CPU cores, one on a GPU or on Ray
        force: Run again what is done already
        pages: Folder of the page; empty: reports/ in the home
    """
    return run_experiments.fn([name], seeds, overrides, lanes, force, pages)


@flow(name="laconic-experiments", log_prints=True, **HOOKS)
def run_experiments(
    names: list[str],
    seeds: list[int] | None = None,
    overrides: list[str] | None = None,
    lanes: int | None = None,
    force: bool = False,
    pages: str | None = None,
) -> list[dict[str, Any]]:
    """Several experiments on the same workers, then the page of each; `run_experiment` tells what one is."""
    changes = tuple(overrides or ())
    experiments = [with_overrides(load_experiment(name), changes) for name in names]
    children_of: dict[str, list[ChildRun]] = {}
    todo: dict[str, ChildRun] = {}
    for name, experiment in zip(names, experiments, strict=True):
        children = child_runs(experiment, experiment_file(name), _seeds(experiment, seeds), changes)
        children_of[experiment.name] = children
        recorded = {child.config.run_id for child in children if not force and is_recorded(child)}
        todo |= {child.config.run_id: child for child in children if child.config.run_id not in recorded}
        for child in children:
            if child.config.run_id in recorded:
                refresh_child(child)
        _deliver([child.config for child in children if child.config.run_id in recorded])
    started = time.monotonic()
    if todo:
        children = repeats_last(sorted(todo.values(), key=lambda child: child.seed))
        with noticing_termination(), accelerator_slot():
            _run_children(children, lanes or default_lanes(children[0].config), force)
    seconds = time.monotonic() - started
    folder = Path(pages) if pages else None
    results = []
    for experiment in experiments:
        children = children_of[experiment.name]
        page = write_finding(experiment, _seeds(experiment, seeds), folder)
        ran = sum(child.config.run_id in todo for child in children)
        results.append({"experiment": experiment.name, "child_runs": len(children), "ran": ran, **page})
    return [*results, {"seconds_in_all": seconds}]


def _deliver(recorded: list[RunConfig]) -> None:
    """Send MLflow what it has not got of child runs that are done, until it is out of reach again."""
    behind = runs_behind(laconic_home())
    for config in recorded:
        if config.run_id in behind:
            with opened_in_flow([RunSession(Run.of(config))]) as [session]:
                pass
            if not session.tracker.available:
                return


def _run_children(children: list[ChildRun], lanes: int, force: bool) -> None:
    home = laconic_home()
    bases = {child.config.base_model: Run.of(child.config).base.location for child in children}
    pool = WorkerPool([child.config for child in children], bases, home, lanes)
    run_one = _child_task.with_options(task_run_name="{child.config.name}")
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=lanes)
    at_once = True
    try:
        with runner:
            futures = [runner.submit(run_one, {"child": child, "pool": pool, "force": force}) for child in children]
            try:
                wait(list[PrefectFuture[Any]](futures))
            except BaseException:
                pool.end()  # the runner waits for child runs that have begun
                raise
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
        session = RunSession(Run.of(child.config), force, worker)
        started = time.monotonic()
        _run_as_flow(session)
        record_child.fn(child, session, time.monotonic() - started)


def _run_as_flow(session: RunSession) -> None:
    """Work on a child run as a flow of its own; without one where the Prefect server does not answer."""
    has_begun = False

    @flow(name="laconic-experiment-run", flow_run_name="{config[name]}", on_running=[outlive_server])
    def run_child(config: dict[str, Any]) -> dict[str, Any]:
        """One arm at one seed: profile, filter, train, evaluate. What is stored for the same inputs is taken over."""
        nonlocal has_begun
        has_begun = True
        with opened_in_flow([session]) as sessions:
            for name in CHILD_STAGES:
                run_for_all(STAGES[name], sessions, do_stage)
            return {"run_id": session.run.run_id}

    settings = session.run.config.model_dump(mode="json")
    try:
        if not outbox.is_away:
            run_child(settings)
            return
    except Exception as error:
        if has_begun or not is_outage(error):
            raise
    run_child.fn(settings)


def repeats_last(children: list[ChildRun]) -> list[ChildRun]:
    """Children in their order, those that differ in name only from an earlier one at the end: they take over its results."""
    first: dict[str, ChildRun] = {}
    repeats = []
    for child in children:
        key = digest(child.config.model_dump(mode="json", exclude={"name"}))
        if key in first:
            repeats.append(child)
        else:
            first[key] = child
    return [*first.values(), *repeats]


def _seeds(experiment: ExperimentConfig, seeds: list[int] | None) -> tuple[int, ...]:
    return experiment.seeds if seeds is None else tuple(seeds)


def default_lanes(config: RunConfig) -> int:
    """Child runs side by side: as many as the CPU cores bear; one where there is a GPU, or actors, which fill a cluster of their own."""
    if Path("/dev/nvidia0").exists() or config.fleet.kind == "ray":
        return 1
    return max(1, (os.cpu_count() or 1) // (config.compute.num_threads * config.compute.num_processes))
