"""The RL loop: GRPO with a length-aware reward on rollouts of the current policy (protocol of arXiv 2602.20945).

A step is one batch of `prompts_per_step` groups of N rollouts, and the S optimiser steps taken on it (S = staleness). Every
rank generates, judges and trains on its own share of the prompts; sums over ranks make the metrics and the loss denominator.
Shape suffixes: P prompts of this rank, N rollouts a prompt, B sequences, T padded tokens.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch.distributed as dist

from pipeline_lib.config import RunConfig
from pipeline_lib.generation.parity import measure_logprob_gap, require_parity
from pipeline_lib.generation.protocol import Generator, Sampling
from pipeline_lib.generation.sampling import sample_and_judge
from pipeline_lib.prompts.rendering import render_prompt
from pipeline_lib.records import Prompt, TrainingStep
from pipeline_lib.rewards import make_reward
from pipeline_lib.store.rollout_files import write_rollout_file
from pipeline_lib.training.batches import prompts_of_step
from pipeline_lib.training.checkpoints import Checkpoints
from pipeline_lib.training.groups import RolloutGroups
from pipeline_lib.training.metrics import StepClock, sum_over_ranks, training_step
from pipeline_lib.training.policy import Policy, sum_or_max_over_ranks
from pipeline_lib.training.update import Reference, update_policy
from pipeline_lib.worker.jobs import TrainJob, read_prompts, write_json

PARITY_PROMPTS = 4

logger = logging.getLogger(__name__)


def train(
    job: TrainJob, generator: Generator, tokenizer: Any, report_progress: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Train to `config.train.steps`, from the newest whole checkpoint if there is one; return the final progress.

    Raises ParityError when the engine does not follow the trainer's weights.
    """
    config = job.config
    prompts = read_prompts(Path(job.prompts_file))
    reward = make_reward(config.reward, config.train.rollout_limit_tokens)
    policy = Policy(config.train, job.base_folder, config.model_revision)
    reference = Reference(config, job.base_folder) if config.train.measure_kl or config.train.kl_coefficient else None
    checkpoints = Checkpoints(Path(job.checkpoints_folder), config.checkpoint.keep_last)
    progress = checkpoints.restore(policy)
    forget_steps_after(Path(job.steps_folder), progress.step)
    sync_weights(policy, generator, tokenizer, config, prompts, progress.step)
    for step in range(progress.step + 1, config.train.steps + 1):
        clock = StepClock()
        batch = prompts_of_step(prompts, step, config.train.prompts_per_step, config.seed)
        groups = generate_groups(generator, tokenizer, config, batch, step, clock)
        groups.assign_rewards(reward)
        with clock.measure("update"):
            update = update_policy(policy, reference, groups, config.train)
        with clock.measure("sync"):
            gap = sync_weights(policy, generator, tokenizer, config, prompts, step)
        write_rollouts(job, groups, step)
        validation: tuple[float | None, float | None] = (None, None)
        if step % config.checkpoint.every_steps == 0 or step == config.train.steps:
            with clock.measure("checkpoint"):
                validation = validate(generator, tokenizer, config, job.validation_file, step)
                progress = progress.with_checkpoint(step, *validation)
                # Before the checkpoint, too: a run killed right after it must not miss the step.
                write_step(job, training_step(job.run_id, step, groups, update, gap, clock, validation))
                checkpoints.save(policy, tokenizer, progress, validation[0])
        record = training_step(job.run_id, step, groups, update, gap, clock, validation)
        write_step(job, record)
        report_progress({"step": step, "steps": config.train.steps, **asdict(record)})
    return asdict(progress)


def write_step(job: TrainJob, record: TrainingStep) -> None:
    """The metrics of a step as a file, for whoever follows the training."""
    if dist.get_rank() == 0:
        write_json(Path(job.steps_folder) / f"step-{record.step:05d}.json", asdict(record))


def forget_steps_after(folder: Path, step: int) -> None:
    """Remove the metrics of steps that a killed attempt took after its last checkpoint: they are taken again."""
    if dist.get_rank() == 0:
        for path in folder.glob("step-*.json"):
            if int(path.stem.removeprefix("step-")) > step:
                path.unlink()


def generate_groups(
    generator: Generator, tokenizer: Any, config: RunConfig, batch: list[Prompt], step: int, clock: StepClock
) -> RolloutGroups:
    """N judged rollouts for each of this rank's prompts."""
    mine = batch[dist.get_rank() :: dist.get_world_size()]
    sampling = Sampling(config.train.rollout_limit_tokens, config.train.temperature)
    samples, seconds = sample_and_judge(
        generator, tokenizer, config.prompts, mine, config.train.num_rollouts, sampling, (config.seed, "train", step)
    )
    clock.add("generation", seconds)
    return RolloutGroups(samples, config.train.num_rollouts, config.train.staleness)


def sync_weights(
    policy: Policy, generator: Generator, tokenizer: Any, config: RunConfig, prompts: list[Prompt], step: int
) -> float:
    """Put the trainer's weights into the engine, prove that it generates with them, and return the log-prob gap (nats)."""
    generator.load_weights(policy.named_weights())
    rendered = [render_prompt(tokenizer, config.prompts, prompt.problem) for prompt in prompts[:PARITY_PROMPTS]]
    own_gap = measure_logprob_gap(generator, policy.score, rendered, config.train.temperature)
    gap = sum_or_max_over_ranks(own_gap, policy.device, dist.ReduceOp.MAX)
    require_parity(gap, config.generation.parity_tolerance, step)
    return gap


def validate(
    generator: Generator, tokenizer: Any, config: RunConfig, validation_file: str | None, step: int
) -> tuple[float | None, float | None]:
    """Held-out accuracy at the target budget L_T, and the mean length in tokens; (None, None) without validation prompts."""
    if config.validation is None or validation_file is None:
        return None, None
    mine = read_prompts(Path(validation_file))[dist.get_rank() :: dist.get_world_size()]
    sampling = Sampling(config.train.rollout_limit_tokens, config.train.temperature)
    samples, _ = sample_and_judge(
        # The same draws at every checkpoint: differences between checkpoints are then the policy's, not the seed's.
        generator, tokenizer, config.validation.source, mine, config.validation.num_samples, sampling, (config.seed, "validation"),
    )  # fmt: skip
    within = sum(sample.grade.correct and sample.num_tokens <= config.reward.target_tokens for sample in samples)
    sums = sum_over_ranks({"within": within, "tokens": sum(s.num_tokens for s in samples), "samples": len(samples)})
    return sums["within"] / sums["samples"], sums["tokens"] / sums["samples"]


def write_rollouts(job: TrainJob, groups: RolloutGroups, step: int) -> None:
    """Every rollout of the step as Parquet, one file a rank."""
    path = Path(job.rollouts_folder) / f"step-{step:05d}-rank-{dist.get_rank()}.parquet"
    write_rollout_file(path, groups.rollouts(job.run_id, step, job.config.name, job.config.prompts.name))
