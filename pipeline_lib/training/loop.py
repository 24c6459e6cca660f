"""The RL loop: GRPO with a length-aware reward on rollouts of the current policy (protocol of arXiv 2602.20945).

A step is one batch of `prompts_per_step` groups of N rollouts, and the S optimiser steps taken on it (S = staleness). Every
rank generates, judges and trains on its own share of the prompts; sums over ranks make the metrics and the loss denominator.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pipeline_lib.config import RunConfig, WatchConfig
from pipeline_lib.generation.protocol import Generator
from pipeline_lib.jobs import TrainJob, read_prompts
from pipeline_lib.messages.finite import NotFiniteError
from pipeline_lib.records import Alarm, TrainingStep
from pipeline_lib.rewards import Reward, make_reward
from pipeline_lib.store.rollout_files import write_rollout_file
from pipeline_lib.training.checkpoints import Checkpoints, Progress
from pipeline_lib.training.groups import RolloutGroups
from pipeline_lib.training.metrics import StepClock, Validation, measure
from pipeline_lib.training.policy import Policy
from pipeline_lib.training.ranks import rank
from pipeline_lib.training.rollout_engine import RolloutEngine
from pipeline_lib.training.step_folder import StepFolder
from pipeline_lib.training.update import Reference, update_policy
from pipeline_lib.training.watch import DynamicsWatch

logger = logging.getLogger(__name__)


def train(
    job: TrainJob, generator: Generator, tokenizer: Any, report_progress: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Train to `config.train.steps`, from the checkpoint of `job.resume_step`; return the final progress.

    An alarm of the watch can end training earlier, or restore the best checkpoint. Raises ParityError when the engine does not
    follow the trainer's weights, NotFiniteError for a reward or loss that is NaN or infinite.
    """
    config, last_step = job.config, job.config.train.steps
    trainer, watch = Trainer.of(job, generator, tokenizer), DynamicsWatch(config.watch, job.run_id)
    progress = trainer.resume(job.resume_step)
    if progress.ended:
        return asdict(progress)
    rows = trainer.folder.rows(progress.step)
    trainer.engine.sync_weights(trainer.policy, progress.step)
    for step in range(progress.step + 1, last_step + 1):
        clock, say = StepClock(), partial(report_phase, report_progress, step, last_step)
        with naming_step(step, config):
            say("generating")
            groups = trainer.engine.generate_groups(trainer.reward, progress.batches_drawn, clock)
            progress = replace(progress, batches_drawn=progress.batches_drawn + groups.batches_drawn)
            say("updating")
            with clock.measure("update"):
                update = update_policy(trainer.policy, trainer.reference, groups, config.train)
            with clock.measure("sync"):
                gap = trainer.engine.sync_weights(trainer.policy, step)
            write_rollouts(job, groups, step)
            record = measure(job.run_id, step, groups, update, gap, clock, trainer.reward.target_tokens)
            alarms = effective_alarms(watch.examine([*rows, asdict(record)], progress.watch_since), progress, config.watch)
            trainer.folder.write_alarms(alarms)
            actions = {alarm.action for alarm in alarms}
            ends = step == last_step or "stop" in actions
            if ends or "roll_back" in actions or step % config.checkpoint.every_steps == 0:
                say("checkpointing")
                progress, record = trainer.checkpoint(progress, record, actions, clock)
        trainer.folder.write_step(record)
        rows.append(asdict(record))
        report_progress({"step": step, "steps": last_step, **rows[-1]})
        if ends:
            break
    return asdict(progress)


@dataclass(frozen=True, slots=True)
class Trainer:
    """What one rank trains with: the policy, the base for its KL, the reward, the engine, and where checkpoints and steps go."""

    config: RunConfig
    policy: Policy
    reference: Reference | None
    reward: Reward[Any]
    engine: RolloutEngine
    checkpoints: Checkpoints
    folder: StepFolder

    @classmethod
    def of(cls, job: TrainJob, generator: Generator, tokenizer: Any) -> "Trainer":
        """Before the first step."""
        config = job.config
        held_out = read_prompts(Path(job.validation_file)) if job.validation_file else []
        return cls(
            config,
            Policy(config.train, config.compute, job.base_folder, config.model_revision),
            Reference(config, job.base_folder) if config.train.measure_kl or config.train.kl_coefficient else None,
            make_reward(config.reward, config.train.rollout_limit_tokens),
            RolloutEngine(generator, tokenizer, config, read_prompts(Path(job.prompts_file)), held_out),
            Checkpoints(Path(job.checkpoints_folder), config.checkpoint.keep_last),
            StepFolder(Path(job.steps_folder), is_writer=rank() == 0),
        )

    def resume(self, step: int) -> Progress:
        """Restore the checkpoint of a step (0: there is none), with the reward's state and the learning rate that it had there."""
        progress = self.checkpoints.restore(self.policy, step)
        if progress.reward_state:
            self.reward.load_state(progress.reward_state)
        if progress.roll_backs:
            self._lower_learning_rate(progress.roll_backs)
        return progress

    def checkpoint(
        self, progress: Progress, record: TrainingStep, actions: set[str], clock: StepClock
    ) -> tuple[Progress, TrainingStep]:
        """Measure held-out accuracy, or roll back, and save; returns the progress and what the step's row has then."""
        step, validation = record.step, Validation()
        with clock.measure("checkpoint"):
            if "roll_back" in actions:
                progress = self.roll_back(progress, step)
                self.engine.sync_weights(self.policy, step)
            else:
                validation = self.engine.validate()
                progress = progress.with_checkpoint(step, validation.accuracy, validation.mean_tokens)
            progress = replace(progress, reward_state=self.reward.state(), ended="stop" in actions)
            record = replace(
                record,
                target_tokens=self.reward.target_tokens,
                validation_accuracy=validation.accuracy,
                validation_mean_tokens=validation.mean_tokens,
                validation_full_accuracy=validation.full_accuracy,
            )
            # Before the checkpoint, too: a run killed right after it must not miss the step.
            self.folder.write_step(record)
            self.checkpoints.save(self.policy, self.engine.tokenizer, progress, validation.accuracy, validation.mean_tokens)
        return progress, replace(record, checkpoint_seconds=clock.seconds("checkpoint"), other_seconds=clock.rest())

    def roll_back(self, progress: Progress, step: int) -> Progress:
        """Restore the best checkpoint (weights, optimiser, what the reward knew), lower the learning rate, let the watch begin anew."""
        logger.warning("step %d: rolling back to the checkpoint of step %s", step, progress.best_step)
        taken = self.policy.optimizer_steps
        self.reward.load_state(self.checkpoints.load_best(self.policy, progress))
        self.policy.optimizer_steps = taken  # steps of the run so far, those that were undone included
        progress = replace(progress, step=step, roll_backs=progress.roll_backs + 1, watch_since=step)
        self._lower_learning_rate(progress.roll_backs)
        return progress

    def _lower_learning_rate(self, roll_backs: int) -> None:
        self.policy.set_learning_rate_factor(self.config.watch.roll_back_learning_rate_factor**roll_backs)


def report_phase(report_progress: Callable[[dict[str, Any]], None], step: int, steps: int, phase: str) -> None:
    """Say what is being done in a step that is not finished yet."""
    report_progress({"step": step - 1, "steps": steps, "phase": phase})


@contextmanager
def naming_step(step: int, config: RunConfig) -> Iterator[None]:
    """Say of a number that is not finite in which step and under which reward it came up."""
    try:
        yield
    except NotFiniteError as error:
        remedy = "no optimiser step was taken on it, and the same command goes on from the newest checkpoint"
        raise NotFiniteError(f"step {step}, reward {config.reward.name!r}: {error}; {remedy}") from error


def effective_alarms(alarms: list[Alarm], progress: Progress, config: WatchConfig) -> list[Alarm]:
    """Alarms with what they do: one that stops training wins over a roll-back, and so does having nothing to roll back to."""
    can_roll_back = progress.best_step is not None and progress.roll_backs < config.max_roll_backs
    stops = any(alarm.action == "stop" for alarm in alarms) or not can_roll_back
    return [replace(alarm, action="stop") if alarm.action == "roll_back" and stops else alarm for alarm in alarms]


def write_rollouts(job: TrainJob, groups: RolloutGroups, step: int) -> None:
    """Every rollout of the step as Parquet, one file a rank."""
    path = Path(job.rollouts_folder) / f"step-{step:05d}-rank-{rank()}.parquet"
    write_rollout_file(path, groups.rollouts(job.run_id, step, job.config.name, job.config.prompts.name))
