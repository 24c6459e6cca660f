"""The train stage: GRPO in the worker; the task follows its steps into DuckDB, MLflow and the progress display."""

import logging
import shutil
import time
from pathlib import Path
from typing import Any, Final

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipeline_lib.files.whole_files import write_whole
from pipeline_lib.jobs import TrainJob, write_prompts
from pipeline_lib.prompts import load_prompts
from pipeline_lib.records import Prompt
from pipeline_lib.runs.session import RunSession
from pipeline_lib.training.checkpoint_files import (
    CheckpointError,
    checkpoint_records,
    checkpoints_in,
    choose_resume_step,
    verify,
)
from pipeline_lib.training.step_folder import StepFolder, last_metrics
from pipeline_lib.training.watch import DynamicsWatch, split_phases
from tasks.progress import StageProgress, stage_progress
from tasks.training_display import TrainingDisplay

STAGE: Final = "train"

logger = logging.getLogger(__name__)


@task(name="train", cache_policy=NO_CACHE)
def train_policy(run: RunSession) -> dict[str, Any]:
    """Train a run to its last step, from its newest whole checkpoint if it was interrupted.

    A finished training with a damaged checkpoint is not finished: what is damaged is set aside, and trained again if it was the last.
    """
    fingerprint = run.fingerprint(STAGE)
    stored = run.stored_training()
    if stored and not _is_whole(run, stored["run_id"]):
        stored = None
    if stored and stored["run_id"] == run.run_id:
        return {**stored["summary"], "skipped": True}
    if stored:
        for table in ("training_steps", "checkpoints", "alarms"):
            run.store.copy_rows(table, stored["run_id"], run.run_id)
        note_dynamics(run)
        run.record_stage(STAGE, "", fingerprint, 0.0, stored["summary"], reused_from=stored["run_id"])
        return {**stored["summary"], "reused_from": stored["run_id"]}
    started = time.monotonic()
    steps = StepFolder(run.training_folder() / "steps")
    _start_over_if_needed(run, steps.path, fingerprint)
    child = run.tracker.start_child(run.mlflow_run_id, STAGE)
    display = TrainingDisplay(run)
    with stage_progress(run.config.name, STAGE) as progress:
        done = run.worker.run(_job(run, steps), lambda _: _watch(run, steps, child, progress, display))
        _follow(run, steps, child, progress, display)
    run.store.replace("checkpoints", {"run_id": run.run_id}, checkpoint_records(run.run_id, run.checkpoints_folder()))
    curve = note_dynamics(run)
    if lost := set(range(1, done["step"] + 1)) - {row["step"] for row in curve}:
        raise ValueError(
            f"the records of steps {sorted(lost)} are gone from {steps.path}: the same command again trains them again"
        )
    summary = {**last_metrics(curve), "alarms": [f"{alarm.kind} at step {alarm.step}" for alarm in steps.alarms()]}
    run.record_stage(STAGE, "", fingerprint, time.monotonic() - started, summary)
    display.show(curve, finished=True)
    run.tracker.log_summary(child, summary)
    run.tracker.finish(child)
    return summary


def _is_whole(run: RunSession, run_id: str) -> bool:
    """Whether the models in the checkpoints of a finished training are as they were written."""
    try:
        for row in run.store.named("checkpoints_of_run", run_id=run_id):
            verify(Path(row["path"]), "model/")
    except CheckpointError as error:
        if run_id != run.run_id:  # one's own is named when it is set aside
            logger.warning("%s: the training of %s is not taken over", error, run_id)
        return False
    return True


def note_dynamics(run: RunSession) -> list[dict[str, Any]]:
    """Store the phases and alarms of a finished training, by the thresholds of this run; returns its curve.

    A training that was taken over may have been watched by others.
    """
    curve = run.store.named("training_curve", run_id=run.run_id)
    run.store.replace("phases", {"run_id": run.run_id}, split_phases(run.run_id, curve))
    if not run.config.watch.intervenes:  # otherwise a roll-back lies between the rows, which they do not tell
        alarms = DynamicsWatch(run.config.watch, run.run_id).history(curve)
        run.store.replace("alarms", {"run_id": run.run_id}, alarms)
    return curve


def _start_over_if_needed(run: RunSession, steps_folder: Path, fingerprint: str) -> None:
    """What an interrupted training with other inputs left must not be continued."""
    marker = run.training_folder() / "fingerprint"
    run.forget_stage(STAGE)
    if run.force or not marker.exists() or marker.read_text() != fingerprint:
        shutil.rmtree(steps_folder, ignore_errors=True)
        shutil.rmtree(run.checkpoints_folder(), ignore_errors=True)
        run.store.delete_rollout_files(run.run_id, STAGE)
        run.store.replace("training_steps", {"run_id": run.run_id}, [])
        run.store.replace("alarms", {"run_id": run.run_id}, [])
        run.store.replace("phases", {"run_id": run.run_id}, [])
    steps_folder.mkdir(parents=True, exist_ok=True)
    write_whole(marker, fingerprint)


def _resume_step(run: RunSession, steps: StepFolder) -> int:
    """Where training goes on; files and rows are then those of the steps up to there, whatever a killed attempt left."""
    last = max(checkpoints_in(run.checkpoints_folder()), default=0)
    rows, alarms = (run.store.named(name, run_id=run.run_id) for name in ("training_curve", "alarms_of_run"))
    step = choose_resume_step(run.checkpoints_folder(), steps.restore(last, rows, alarms))
    steps.forget_after(step)
    run.store.replace("training_steps", {"run_id": run.run_id}, steps.rows())
    return step


def _job(run: RunSession, steps: StepFolder) -> TrainJob:
    selected = run.store.named("selected_prompts", run_id=run.run_id, source=run.config.prompts.name)
    if not selected:
        raise ValueError(
            f"run {run.run_id} has no selected prompts yet: run 'laconic filter' with the same configuration first"
        )
    if len(selected) < run.config.train.prompts_per_step:
        raise ValueError(
            f"train.prompts_per_step = {run.config.train.prompts_per_step} is above the {len(selected)} prompts that the filter "
            "kept, and no step sees a prompt twice: lower it, or keep more prompts (filter.subset, prompts.num_prompts)"
        )
    prompts_file = run.training_folder() / "prompts.json"
    write_prompts(prompts_file, [Prompt(**row) for row in selected])
    validation_file = None
    if run.config.validation:
        validation_file = run.training_folder() / "validation.json"
        write_prompts(validation_file, load_prompts(run.config.validation.source))
    return TrainJob(
        run_id=run.run_id,
        config=run.config,
        base_folder=run.base.location,
        prompts_file=str(prompts_file),
        validation_file=str(validation_file) if validation_file else None,
        rollouts_folder=str(run.rollouts_folder(STAGE)),
        steps_folder=str(steps.path),
        checkpoints_folder=str(run.checkpoints_folder()),
        resume_step=_resume_step(run, steps),
    )


def _watch(run: RunSession, steps: StepFolder, child: str | None, progress: StageProgress, display: TrainingDisplay) -> None:
    """Follow, but never end a training because the store is busy or Prefect does not answer: the next call catches up."""
    try:
        _follow(run, steps, child, progress, display)
    except Exception as error:
        logger.warning("the steps of %s are shown later: %s", run.run_id, error)


def _follow(run: RunSession, steps: StepFolder, child: str | None, progress: StageProgress, display: TrainingDisplay) -> None:
    rows = steps.new_rows()
    if not rows:
        return
    run.store.write("training_steps", rows)
    alarms = steps.alarms()
    run.store.replace("alarms", {"run_id": run.run_id}, alarms)
    steps.mark_seen()
    if any(row["checkpoint_seconds"] for row in rows):
        run.store.replace("checkpoints", {"run_id": run.run_id}, checkpoint_records(run.run_id, run.checkpoints_folder()))
    run.tracker.log_steps(child, rows)
    last = rows[-1]
    note = f"reward {last['reward_mean']:.2f}  accuracy {last['accuracy']:.2f}  {last['mean_tokens']:.0f} tokens"
    raised = ", ".join(f"{alarm.kind} at step {alarm.step}" for alarm in alarms)
    progress.update(last["step"], run.config.train.steps, f"{note}  {raised}".rstrip())
    display.announce(alarms)
    if display.is_due:
        display.show(steps.rows())
