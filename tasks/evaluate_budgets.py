"""The evaluate stage: the budget sweep of the base and of the trained models of some runs, on one engine."""

import glob
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipeline_lib.config import PromptSource
from pipeline_lib.evaluation.budget_sweep import score_budgets
from pipeline_lib.files.home import below
from pipeline_lib.jobs import GenerateJob, GenerateUnit, write_prompts
from pipeline_lib.prompts import load_prompts
from pipeline_lib.runs.fingerprints import evaluate_fingerprint
from pipeline_lib.runs.session import RunSession
from pipeline_lib.store.rollout_files import read_rollout_file
from pipeline_lib.training.checkpoint_files import naming_remedy, read_record, require_model
from tasks.artifacts import publish_table
from tasks.progress import stage_progress

STAGE: Final = "evaluate"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Unit:
    """One model on one benchmark."""

    run: RunSession
    step: int
    weights: str | None
    weights_id: str  # the base's digest, or the id that was drawn when the checkpoint was written
    benchmark: PromptSource

    @property
    def name(self) -> str:
        return f"step-{self.step:05d}/{self.benchmark.name}"

    @property
    def fingerprint(self) -> str:
        return evaluate_fingerprint(self.run.config, self.weights_id, self.benchmark)

    @property
    def shard_prefix(self) -> str:
        return f"{self.benchmark.name}-{self.step:05d}-{self.fingerprint[:12]}"

    @property
    def prompts_file(self) -> Path:
        # A benchmark may be called prompts, or validation: beside it lie files of the train stage.
        return below(self.run.training_folder(), f"benchmark-{self.benchmark.name}.json")

    @property
    def model(self) -> str:
        return self.run.base.label if self.step == 0 else self.run.config.name


@task(name="evaluate", cache_policy=NO_CACHE)
def evaluate_budgets(runs: list[RunSession]) -> dict[str, Any]:
    """Sweep the budgets for step 0, the best and the last checkpoint of every run; what is stored already is not generated."""
    units = [unit for run in runs for unit in _units(run)]
    todo: dict[str, _Unit] = {}
    for unit in units:
        stored = unit.run.stored_result(STAGE, unit.name, unit.fingerprint)
        if unit.run.force or not stored:
            todo.setdefault(unit.fingerprint, unit)
    for run in runs:
        if run.force:
            run.forget_stage(STAGE)
        current = [unit.shard_prefix for unit in units if unit.run is run and not (run.force and unit in todo.values())]
        run.store.delete_rollout_files(run.run_id, STAGE, keep_prefixes=current)
    started = time.monotonic()
    if todo:
        _generate(list(todo.values()))
    for unit in todo.values():
        _score(unit, seconds=(time.monotonic() - started) / len(todo))
    for unit in units:
        _share(unit)
    for run in runs:
        table = run.store.named("budget_table", run_ids=[run.run_id])
        publish_table(run.config.name, "budgets", table, "Accuracy and length at every token budget")
        run.track(STAGE)
    return {"evaluated": len(todo), "skipped": len(units) - len(todo)}


def _units(run: RunSession) -> list[_Unit]:
    weights: dict[int, tuple[str | None, str]] = {0: (None, run.base.digest)}
    checkpoints = run.store.named("checkpoints_of_run", run_id=run.run_id)
    if not checkpoints:
        logger.warning("run %s has no checkpoint yet: only the base model is evaluated", run.run_id)
    last = max((row["step"] for row in checkpoints), default=0)
    which = run.config.evaluate.checkpoints
    wanted = [
        row for row in checkpoints if which == "all" or row["step"] == last or (row["is_best"] and which == "best_and_last")
    ]
    weights |= {row["step"]: (f"{row['path']}/model", _weights_id(run, row)) for row in wanted}
    return [
        _Unit(run, step, folder, weights_id, benchmark)
        for step, (folder, weights_id) in weights.items()
        for benchmark in run.config.evaluate.benchmarks
    ]


def _weights_id(run: RunSession, checkpoint: dict[str, Any]) -> str:
    with naming_remedy(run.run_id):
        return str(read_record(Path(checkpoint["path"]))["weights_id"])


def _generate(units: list[_Unit]) -> None:
    for folder, run_id in {(unit.weights, unit.run.run_id) for unit in units if unit.weights}:
        require_model(Path(folder).parent, run_id)
    jobs = []
    for unit in units:
        prompts = load_prompts(unit.benchmark)
        unit.run.store.write("prompts", prompts)
        write_prompts(unit.prompts_file, prompts)
        evaluate = unit.run.config.evaluate
        jobs.append(
            GenerateUnit(
                run_id=unit.run.run_id,
                stage=STAGE,
                step=unit.step,
                model=unit.model,
                weights=unit.weights,
                source=unit.benchmark,
                prompts_file=str(unit.prompts_file),
                num_samples=evaluate.num_samples,
                limit_tokens=max(evaluate.budgets_tokens),
                temperature=evaluate.temperature,
                top_p=evaluate.top_p,
                seed=unit.run.config.seed,
                shard_prefix=unit.shard_prefix,
                output_folder=str(unit.run.rollouts_folder(STAGE)),
            )
        )
    first = units[0].run
    with stage_progress(first.config.name, STAGE) as progress:
        first.worker.run(GenerateJob(units=tuple(jobs)), lambda state: progress.update(state["done"], state["total"]))


def _score(unit: _Unit, seconds: float) -> None:
    run, evaluate = unit.run, unit.run.config.evaluate
    shards = sorted(run.rollouts_folder(STAGE).glob(f"{glob.escape(unit.shard_prefix)}-*.parquet"))
    points = score_budgets(
        [rollout for shard in shards for rollout in read_rollout_file(shard)],
        evaluate.budgets_tokens,
        evaluate.bootstrap_resamples,
        run.config.seed,
        run_id=run.run_id,
        model=unit.model,
        step=unit.step,
        benchmark=unit.benchmark.name,
    )
    run.store.replace("budget_results", {"run_id": run.run_id, "step": unit.step, "benchmark": unit.benchmark.name}, points)
    run.record_stage(STAGE, unit.name, unit.fingerprint, seconds, {"budgets": len(points)})


def _share(unit: _Unit) -> None:
    """The base is evaluated once: its rows are copied to the runs that share it, such as the control."""
    run = unit.run
    stored = run.stored_result(STAGE, unit.name, unit.fingerprint)
    assert stored
    if stored["run_id"] != run.run_id:
        where = {"step": unit.step, "benchmark": unit.benchmark.name}
        run.store.copy_rows("budget_results", stored["run_id"], run.run_id, where)
        run.record_stage(STAGE, unit.name, unit.fingerprint, 0.0, stored["summary"], reused_from=stored["run_id"])
