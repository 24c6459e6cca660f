"""The RL loop: GRPO with a length-aware reward on rollouts of the current policy (protocol of arXiv 2602.20945).

A step is one batch of `prompts_per_step` groups of N rollouts, and the S optimiser steps taken on it (S = staleness). Every
rank generates and judges its own share of the prompts, and trains on as many tokens as the others; sums over ranks make the
metrics and the loss denominator.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from pipeline_lib.config import RunConfig, WatchConfig
from pipeline_lib.generation.parity import require_small_divergence
from pipeline_lib.generation.protocol import Generator
from pipeline_lib.jobs import TrainJob
from pipeline_lib.messages.finite import NotFiniteError
from pipeline_lib.records import Alarm, FleetEvent
from pipeline_lib.store.rollout_files import write_rollout_file
from pipeline_lib.training.ahead import BatchesAhead, RemoteEngines
from pipeline_lib.training.checkpoints import CheckpointTimer, Progress
from pipeline_lib.training.groups import RolloutGroups
from pipeline_lib.training.metrics import StepClock, measure
from pipeline_lib.training.ranks import Patience, rank
from pipeline_lib.training.trainer import Trainer
from pipeline_lib.training.update import update_policy
from pipeline_lib.training.watch import DynamicsWatch


def train(
    job: TrainJob, generator: Generator, tokenizer: Any, report_progress: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Train to `config.train.steps`, from the checkpoint of `job.resume_step`; return the final progress.

    An alarm of the watch can end training earlier, or restore the best checkpoint. Raises ParityError when the engine does not
    follow the trainer's weights or is too far from its probabilities, NotFiniteError for a reward or loss that is NaN or infinite.
    """
    config, last_step = job.config, job.config.train.steps
    generator.sleep()  # the first weight sync wakes it
    trainer, watch = Trainer.of(job, generator, tokenizer), DynamicsWatch(config.watch, job.run_id)
    progress = trainer.resume(job.resume_step)
    if progress.ended:
        return asdict(progress)
    rows, patience, timer = trainer.folder.rows(progress.step), Patience(), CheckpointTimer(config.checkpoint.every_minutes)
    note(generator, "started")
    with noting(generator, "sent"):
        gap, num_ahead = trainer.sync_weights(progress.step), config.train.batches_ahead
    ahead = batches_ahead(trainer, generator, progress.batches_drawn, last_step) if num_ahead else None
    for step in range(progress.step + 1, last_step + 1):
        clock, say = StepClock(), partial(report_phase, report_progress, step, last_step)
        with naming_step(step, config), patience.phase("step"):
            say("generating")
            groups = trainer.generate_groups(progress.batches_drawn, clock, ahead)
            progress = replace(progress, batches_drawn=progress.batches_drawn + groups.batches_drawn)
            say("updating")
            generator.sleep()
            with clock.measure("update"), noting(generator, "updated", progress.batches_drawn):
                update = update_policy(trainer.policy, trainer.reference, groups, config.train)
            require_small_divergence(update.logprob_gap_k3, config.generation.kl_tolerance, f"in step {step}")
            is_measured = step == last_step or step % config.checkpoint.every_steps == 0
            with clock.measure("sync"), noting(generator, "sent"):
                if isinstance(generator, RemoteEngines) and ahead and not is_measured:
                    trainer.push_weights(generator, step)
                else:
                    gap = trainer.sync_weights(step)
            if ahead:
                ahead.dispatch(progress.batches_drawn, trainer.policy.optimizer_steps)
            write_rollouts(job, groups, step)
            record = measure(job.run_id, step, groups, update, gap, clock, trainer.reward.target_tokens)
            alarms = effective_alarms(watch.examine([*rows, asdict(record)], progress.watch_since), progress, config.watch)
            trainer.folder.write_alarms(alarms)
            actions = {alarm.action for alarm in alarms}
            ends = step == last_step or "stop" in actions
            if ends or "roll_back" in actions or is_measured:
                say("checkpointing")
                with patience.phase("checkpoint"), noting(generator, "saved"):
                    progress, record = trainer.checkpoint(progress, record, actions, clock)
                timer.restart()
            elif timer.is_due():
                say("checkpointing")
                with patience.phase("save"), noting(generator, "saved"):
                    progress, record = trainer.save_to_resume(progress, record, clock)
                timer.restart()
        trainer.folder.write_step(record)
        rows.append(asdict(record))
        report_progress({"step": step, "steps": last_step, **rows[-1]})
        if ends:
            break
    if ahead:
        ahead.close()
    return asdict(progress)


def batches_ahead(trainer: Trainer, engines: Generator, num_drawn: int, last: int) -> BatchesAhead:
    """The batches after the first `num_drawn` up to `last`, the first of them dispatched with the weights that the engines hold."""
    assert isinstance(engines, RemoteEngines), "an engine in this process cannot work beside the update"
    ahead = BatchesAhead(engines, trainer.draw, trainer.config.train.batches_ahead, num_drawn + 1, last)
    ahead.dispatch(num_drawn, trainer.policy.optimizer_steps)
    return ahead


@contextmanager
def noting(generator: Generator, kind: str, batch: int | None = None) -> Iterator[None]:
    """Put what this rank does, and for how long, among the events of a fleet."""
    began, started = datetime.now(UTC), time.monotonic()
    yield
    note(generator, kind, batch, began, time.monotonic() - started)


def note(
    generator: Generator, kind: str, batch: int | None = None, began: datetime | None = None, seconds: float | None = None
) -> None:
    if isinstance(generator, RemoteEngines):
        generator.note(FleetEvent("", began or datetime.now(UTC), f"trainer-{rank()}", "", kind, "", batch, seconds, ""))


def report_phase(report_progress: Callable[[dict[str, Any]], None], step: int, steps: int, phase: str) -> None:
    """Say what is being done in a step that is not finished yet."""
    report_progress({"step": step - 1, "steps": steps, "phase": phase})


@contextmanager
def naming_step(step: int, config: RunConfig) -> Iterator[None]:
    """Say of a number that is not finite in which step and under which reward it came up."""
    try:
        yield
    except NotFiniteError as error:
        remedy = "no optimiser step was taken on it, and the same command resumes from the newest checkpoint"
        raise NotFiniteError(f"step {step}, reward {config.reward.name!r}: {error}; {remedy}") from error


def effective_alarms(alarms: list[Alarm], progress: Progress, config: WatchConfig) -> list[Alarm]:
    """Alarms with the action they take: a roll-back stops training where another alarm does, or none is possible any more."""
    can_roll_back = progress.best_step is not None and progress.roll_backs < config.max_roll_backs
    stops = any(alarm.action == "stop" for alarm in alarms) or not can_roll_back
    return [replace(alarm, action="stop") if alarm.action == "roll_back" and stops else alarm for alarm in alarms]


def write_rollouts(job: TrainJob, groups: RolloutGroups, step: int) -> None:
    """Every rollout of the step as Parquet, one file per rank."""
    path = Path(job.rollouts_folder) / f"step-{step:05d}-rank-{rank()}.parquet"
    write_rollout_file(path, groups.rollouts(job.run_id, step, job.config.name, job.config.prompts.name))
