"""The train stage: GRPO in the worker, whose steps are followed into DuckDB, MLflow and onto the display."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline_lib.config import RunConfig, digest
from pipeline_lib.files.whole_files import write_whole
from pipeline_lib.jobs import TrainJob, write_prompts
from pipeline_lib.prompts import load_prompts
from pipeline_lib.prompts.local_copies import source_identity
from pipeline_lib.records import Prompt
from pipeline_lib.report.data import FleetRecord
from pipeline_lib.report.fleet import collect_fleet
from pipeline_lib.runs.ledger import Ledger
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages.display import Display, Progress, TrainingView
from pipeline_lib.stages.filter import filter_fingerprint
from pipeline_lib.stages.profile import profile_fingerprint
from pipeline_lib.stages.restarting import run_job
from pipeline_lib.stages.stage import StageOfRuns, Summary, Unit
from pipeline_lib.training.checkpoint_files import (
    CheckpointError,
    checkpoint_records,
    checkpoints_in,
    choose_resume_step,
    verify,
)
from pipeline_lib.training.step_folder import StepFolder, last_metrics
from pipeline_lib.training.watch import DynamicsWatch, split_phases

NEWEST_STEPS = 5  # over which what is shown of a fleet is averaged
# Files of rollouts that are made one while training goes on: a query opens each.
COMPACTED_TOGETHER = 64

logger = logging.getLogger(__name__)


def train_fingerprint(config: RunConfig, base_digest: str, selection_digest: str) -> str:
    """Digest of the selected prompts, the reward and every setting that changes a weight or a metric.

    The selection counts by its result, so that one more benchmark to stay clear of means training again only if it takes
    prompts away.
    """
    train = config.train.result_settings() | config.compute.result_settings()
    held_out = config.validation
    validation = [source_identity(held_out.source), held_out.num_samples, held_out.limit_tokens] if held_out else None
    watch = config.watch.result_settings() if config.watch.intervenes else None  # one that only warns changes no weight
    parts = [config.reward.model_dump(), train, config.checkpoint.result_settings(), validation, watch]
    return digest(["train", profile_fingerprint(config, base_digest), selection_digest, parts])


def stored_fingerprint(run: Run, ledger: Ledger) -> str:
    """The fingerprint of a run with what its filter has selected."""
    filtered = ledger.stage_result("filter", "", filter_fingerprint(run.config, run.base.digest))
    selection_digest = filtered["summary"].get("selection_digest", "") if filtered else "not selected yet"
    return train_fingerprint(run.config, run.base.digest, selection_digest)


class Train(StageOfRuns):
    """**GRPO with the length-aware reward**, and the control beside it. Resumes from the newest whole checkpoint.

    Reads `selections`; writes `training_steps`, `alarms`, `phases`, `checkpoints`, rollouts of stage `train`, metrics in MLflow.
    While it runs: progress with the time left, the newest steps as a table, the dynamics as an image, alarms as events
    `laconic.alarm.KIND`; of a fleet on Ray, how busy it is.
    """

    name = "train"

    def fingerprint(self, session: RunSession) -> str:
        return stored_fingerprint(session.run, session.ledger)

    def find_done(self, unit: Unit) -> dict[str, Any] | None:
        """A finished training run whose checkpoints are whole.

        What is damaged is set aside by the work that follows, and trained again if it was the last.
        """
        stored = self.find_kept(unit)
        return stored if stored and _is_whole(unit.session, stored["run_id"]) else None

    def find_kept(self, unit: Unit) -> dict[str, Any] | None:
        """A finished training run whose checkpoints are there, whole or not."""
        stored = super().find_done(unit)
        checkpoints = unit.session.store.named("checkpoints_of_run", run_id=stored["run_id"]) if stored else []
        return stored if checkpoints and all(Path(row["path"]).exists() for row in checkpoints) else None

    def take_over(self, unit: Unit, owner: str) -> None:
        """Steps, checkpoints and alarms; the training run may have been watched by other thresholds."""
        for table in ("training_steps", "checkpoints", "alarms"):
            unit.session.store.copy_rows(table, owner, unit.session.run.run_id)
        note_dynamics(unit.session)

    def work(self, unit: Unit, display: Display) -> Summary:
        """Train a run to its last step, from its newest whole checkpoint if it was interrupted."""
        session, run = unit.session, unit.session.run
        steps = StepFolder(run.training_folder() / "steps")
        _start_over_if_needed(session, steps.path, unit.fingerprint)
        session.child(self.name, wait=False)  # so that MLflow knows of a training run that fails before its first step, too
        view = display.training(run)
        with display.progress(run.config.name, "train") as progress:
            done = run_job(
                session,
                self.name,
                lambda: make_job(session, steps),
                lambda _: _watch(session, steps, progress, view),
                steps.last_step,
            )
            _follow(session, steps, progress, view)
        session.store.replace("checkpoints", {"run_id": run.run_id}, checkpoint_records(run.run_id, run.checkpoints_folder()))
        curve = note_dynamics(session)
        if lost := set(range(1, done["step"] + 1)) - {row["step"] for row in curve}:
            raise ValueError(
                f"the records of steps {sorted(lost)} are gone from {steps.path}: the same command again trains them again"
            )
        return {**last_metrics(curve), "alarms": [f"{alarm.kind} at step {alarm.step}" for alarm in steps.alarms()]}

    def send(self, session: RunSession, child: str | None) -> None:
        """The steps that were not sent while they were trained, and the summary."""
        session.tracker.log_steps(child, session.store.named("training_curve", run_id=session.run.run_id))
        super().send(session, child)

    def show(self, session: RunSession, child: str | None, display: Display) -> None:
        curve = session.store.named("training_curve", run_id=session.run.run_id)
        display.training(session.run).show(curve, True, _fleet_reader(session))


STAGE = Train()


def is_trained(session: RunSession) -> bool:
    """Whether training for these very inputs is done and its checkpoints are there."""
    [unit] = STAGE.units([session])
    return STAGE.find_kept(unit) is not None


def _is_whole(session: RunSession, run_id: str) -> bool:
    """Whether the models in the checkpoints of a finished training run are as they were written."""
    try:
        for row in session.store.named("checkpoints_of_run", run_id=run_id):
            verify(Path(row["path"]), "model/")
    except CheckpointError as error:
        if run_id != session.run.run_id:  # one's own is named when it is set aside
            logger.warning("%s: the training run of %s is not taken over", error, run_id)
        return False
    return True


def note_dynamics(session: RunSession) -> list[dict[str, Any]]:
    """Store the phases and alarms of a finished training run, by the thresholds of this run; returns its curve."""
    run, store = session.run, session.store
    curve = store.named("training_curve", run_id=run.run_id)
    store.replace("phases", {"run_id": run.run_id}, split_phases(run.run_id, curve))
    if not run.config.watch.intervenes:  # otherwise a roll-back lies between the rows, which they do not tell
        alarms = DynamicsWatch(run.config.watch, run.run_id).history(curve)
        store.replace("alarms", {"run_id": run.run_id}, alarms)
    return curve


def _start_over_if_needed(session: RunSession, steps_folder: Path, fingerprint: str) -> None:
    """What an interrupted training run with other inputs left must not be resumed."""
    run, store = session.run, session.store
    marker = run.training_folder() / "fingerprint"
    if session.force or not marker.exists() or marker.read_text() != fingerprint:
        shutil.rmtree(steps_folder, ignore_errors=True)
        shutil.rmtree(run.checkpoints_folder(), ignore_errors=True)
        store.delete_rollout_files(run.run_id, "train")
        for table in ("training_steps", "alarms", "phases"):
            store.replace(table, {"run_id": run.run_id}, [])
    steps_folder.mkdir(parents=True, exist_ok=True)
    write_whole(marker, fingerprint)


def choose_start(session: RunSession, steps: StepFolder) -> int:
    """The step to resume from; files and rows are then those of the steps up to there, whatever a killed attempt left."""
    run, store = session.run, session.store
    last = max(checkpoints_in(run.checkpoints_folder()), default=0)
    rows, alarms = (store.named(name, run_id=run.run_id) for name in ("training_curve", "alarms_of_run"))
    step = choose_resume_step(run.checkpoints_folder(), steps.restore(last, rows, alarms))
    steps.forget_after(step)
    store.delete_rollouts_after(run.run_id, step)
    store.replace("training_steps", {"run_id": run.run_id}, steps.rows())
    return step


def make_job(session: RunSession, steps: StepFolder) -> TrainJob:
    """What the worker is told. Raises ValueError when too few prompts are selected."""
    run, config = session.run, session.run.config
    selected = session.store.named("selected_prompts", run_id=run.run_id, source=config.prompts.name)
    if not selected:
        raise ValueError(
            f"run {run.run_id} has no selected prompts yet: run 'laconic filter' with the same configuration first"
        )
    if len(selected) < config.train.prompts_per_step:
        raise ValueError(
            f"train.prompts_per_step = {config.train.prompts_per_step} is above the {len(selected)} prompts that the filter "
            "kept, and no step sees a prompt twice: lower it, or keep more prompts (filter.subset, prompts.num_prompts)"
        )
    prompts_file = run.training_folder() / "prompts.json"
    write_prompts(prompts_file, [Prompt(**row) for row in selected])
    validation_file = None
    if config.validation:
        validation_file = run.training_folder() / "validation.json"
        write_prompts(validation_file, load_prompts(config.validation.source))
    return TrainJob(
        run_id=run.run_id,
        config=config,
        base_folder=run.base.location,
        prompts_file=str(prompts_file),
        validation_file=str(validation_file) if validation_file else None,
        rollouts_folder=str(run.rollouts_folder("train")),
        steps_folder=str(steps.path),
        checkpoints_folder=str(run.checkpoints_folder()),
        resume_step=choose_start(session, steps),
    )


def _watch(session: RunSession, steps: StepFolder, progress: Progress, view: TrainingView) -> None:
    """Follow, but never end a training run because the store is busy or Prefect does not answer: the next call catches up."""
    try:
        _follow(session, steps, progress, view)
    except Exception as error:
        logger.warning("the steps of %s are shown later: %s", session.run.run_id, error)


def _follow(session: RunSession, steps: StepFolder, progress: Progress, view: TrainingView) -> None:
    rows = steps.new_rows()
    if not rows:
        return
    run, store = session.run, session.store
    store.write("training_steps", rows)
    alarms = steps.alarms()
    store.replace("alarms", {"run_id": run.run_id}, alarms)
    steps.mark_seen()
    if any(row["checkpoint_seconds"] for row in rows):
        store.replace("checkpoints", {"run_id": run.run_id}, checkpoint_records(run.run_id, run.checkpoints_folder()))
    session.tracker.log_steps(session.child("train", wait=False), rows, wait=False)
    last = rows[-1]
    note = f"reward {last['reward_mean']:.2f}  accuracy {last['accuracy']:.2f}  {last['mean_tokens']:.0f} tokens"
    raised = ", ".join(f"{alarm.kind} at step {alarm.step}" for alarm in alarms)
    progress.update(last["step"], run.config.train.steps, f"{note}  {raised}".rstrip())
    view.announce(alarms)
    if view.is_due:
        view.show(steps.rows(), False, _fleet_reader(session))
    store.compact(run.run_id, "train", COMPACTED_TOGETHER, last["step"])


def _fleet_reader(session: RunSession) -> Callable[[], FleetRecord | None]:
    run = session.run
    if run.config.fleet.kind != "ray":
        return lambda: None
    return lambda: collect_fleet(session.store, run.run_id, NEWEST_STEPS)
