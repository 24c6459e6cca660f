"""The evaluate stage: the budget sweep of the base and of the trained models of some runs, on one engine."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.config import PromptSource, RunConfig, digest
from pipeline_lib.evaluation.budget_sweep import score_budgets
from pipeline_lib.files.home import below
from pipeline_lib.jobs import GenerateJob, GenerateUnit, read_prompts, write_prompts
from pipeline_lib.prompts import load_prompts
from pipeline_lib.prompts.local_copies import source_identity
from pipeline_lib.runs.session import RunSession
from pipeline_lib.selection.training_prompts import require_clean_examples
from pipeline_lib.stages.display import Display
from pipeline_lib.stages.restarting import generate
from pipeline_lib.stages.stage import Stage, Summary, Unit, sampling_identity
from pipeline_lib.store.rollout_files import read_stage_rollouts
from pipeline_lib.training.checkpoint_files import naming_remedy, read_record, require_model

logger = logging.getLogger(__name__)


def evaluate_fingerprint(config: RunConfig, weights_digest: str, benchmark: PromptSource) -> str:
    """Digest of one model on one benchmark."""
    evaluate = config.evaluate.model_dump(mode="json", exclude={"benchmarks", "checkpoints"})
    return digest(["evaluate", weights_digest, source_identity(benchmark), evaluate, sampling_identity(config)])


@dataclass(frozen=True, eq=False, kw_only=True)
class Sweep(Unit):
    """One model on one benchmark; `weights` is None for the base, at step 0."""

    step: int
    weights: str | None
    benchmark: PromptSource

    @property
    def shard_prefix(self) -> str:
        """How the names of its rollout files begin."""
        return f"{self.benchmark.name}-{self.step:05d}-{self.fingerprint[:12]}"

    @property
    def prompts_file(self) -> Path:
        # A benchmark may be called prompts, or validation: beside it lie files of the train stage.
        return below(self.session.run.training_folder(), f"benchmark-{self.benchmark.name}.json")

    @property
    def model(self) -> str:
        run = self.session.run
        return run.base.label if self.step == 0 else run.config.name


class Evaluate(Stage[Sweep]):
    """**Budget sweep**: one generation at the largest budget, scored at every budget; the base and the checkpoints.

    Reads `checkpoints` and the benchmarks; writes `budget_results` and rollouts of stage `evaluate`.
    """

    name = "evaluate"
    always_tells = True  # each run has a table of its own, though the base was evaluated for another

    def units(self, sessions: Sequence[RunSession]) -> list[Sweep]:
        """The base (step 0) and the checkpoints that `evaluate.checkpoints` names, of every run on every benchmark."""
        return [
            Sweep(
                session,
                evaluate_fingerprint(session.run.config, weights_id, benchmark),
                f"step-{step:05d}/{benchmark.name}",
                step=step,
                weights=weights,
                benchmark=benchmark,
            )
            for session in sessions
            for step, (weights, weights_id) in _models(session).items()
            for benchmark in session.run.config.evaluate.benchmarks
        ]

    def prepare(self, units: Sequence[Sweep], todo: Sequence[Sweep], display: Display) -> None:
        """Generate all that is to be scored, as one job of the first run's worker."""
        for session in dict.fromkeys(unit.session for unit in units):
            forced = [unit for unit in todo if self.is_forced(session)]
            kept = [unit.shard_prefix for unit in units if unit.session is session and unit not in forced]
            session.store.delete_rollout_files(session.run.run_id, "evaluate", keep_prefixes=kept)
        for folder, run_id in {(unit.weights, unit.session.run.run_id) for unit in todo if unit.weights}:
            require_model(Path(folder).parent, run_id)
        if todo:
            require_clean_examples(todo[0].session.run.config)
            job = GenerateJob(units=tuple(map(_generation, todo)))
            first = todo[0].session
            with display.progress(first.run.config.name, "evaluate") as progress:
                generate(first, "evaluate", job, progress)

    def work(self, unit: Sweep, display: Display) -> Summary:
        run, store, evaluate = unit.session.run, unit.session.store, unit.session.run.config.evaluate
        rollouts = read_stage_rollouts(run.rollouts_folder("evaluate"), f"{unit.shard_prefix}-")
        # The bootstrap draws prompts by their number: that must not depend on how they were dealt over ranks.
        number = {prompt.prompt_id: number for number, prompt in enumerate(read_prompts(unit.prompts_file))}
        points = score_budgets(
            sorted(rollouts, key=lambda rollout: (number[rollout.prompt_id], rollout.sample_index)),
            evaluate.budgets_tokens,
            evaluate.bootstrap_resamples,
            run.config.seed,
            run_id=run.run_id,
            model=unit.model,
            step=unit.step,
            benchmark=unit.benchmark.name,
        )
        store.replace("budget_results", {"run_id": run.run_id, "step": unit.step, "benchmark": unit.benchmark.name}, points)
        return {"budgets": len(points)}

    def take_over(self, unit: Sweep, owner: str) -> None:
        """The base is evaluated once: its rows are copied to the runs that share it, such as the control."""
        where = {"step": unit.step, "benchmark": unit.benchmark.name}
        unit.session.store.copy_rows("budget_results", owner, unit.session.run.run_id, where)

    def sum_up(self, results: Sequence[Summary]) -> Summary:
        stored = sum("skipped" in result or "reused_from" in result for result in results)
        return {"evaluated": len(results) - stored, "skipped": stored}

    def send(self, session: RunSession, child: str | None) -> None:
        rows = session.store.named("budget_table", run_ids=[session.run.run_id])
        figures = {f"{r['benchmark']}.step{r['step']}.mean_at_k.{r['budget_tokens']}": r["mean_at_k"] for r in rows}
        session.tracker.log_summary(child, figures)

    def show(self, session: RunSession, child: str | None, display: Display) -> None:
        table = session.store.named("budget_table", run_ids=[session.run.run_id])
        display.table(session.run.config.name, "budgets", table, "Accuracy and length at every token budget")


STAGE = Evaluate()


def _models(session: RunSession) -> dict[int, tuple[str | None, str]]:
    """By step: the folder of the weights, and the base's digest or the id that was drawn when the checkpoint was written."""
    run, which = session.run, session.run.config.evaluate.checkpoints
    checkpoints = session.store.named("checkpoints_of_run", run_id=run.run_id)
    if not checkpoints:
        logger.warning("run %s has no checkpoint yet: only the base model is evaluated", run.run_id)
    last = max((row["step"] for row in checkpoints), default=0)
    wanted = [
        row for row in checkpoints if which == "all" or row["step"] == last or (row["is_best"] and which == "best_and_last")
    ]
    models: dict[int, tuple[str | None, str]] = {0: (None, run.base.digest)}
    return models | {row["step"]: (f"{row['path']}/model", _weights_id(run.run_id, row)) for row in wanted}


def _weights_id(run_id: str, checkpoint: dict[str, Any]) -> str:
    with naming_remedy(run_id):
        return str(read_record(Path(checkpoint["path"]))["weights_id"])


def _generation(unit: Sweep) -> GenerateUnit:
    run, evaluate = unit.session.run, unit.session.run.config.evaluate
    prompts = load_prompts(unit.benchmark)
    unit.session.store.write("prompts", prompts)
    write_prompts(unit.prompts_file, prompts)
    return GenerateUnit(
        run_id=run.run_id,
        stage="evaluate",
        step=unit.step,
        model=unit.model,
        weights=unit.weights,
        source=unit.benchmark,
        prompts_file=str(unit.prompts_file),
        num_samples=evaluate.num_samples,
        limit_tokens=max(evaluate.budgets_tokens),
        temperature=evaluate.temperature,
        top_p=evaluate.top_p,
        seed=run.config.seed,
        shard_prefix=unit.shard_prefix,
        output_folder=str(run.rollouts_folder("evaluate")),
    )
