"""The RL loop: GRPO with a length-aware reward on rollouts of the current policy (protocol of arXiv 2602.20945).

A step is one batch of `prompts_per_step` groups of N rollouts, and the S optimiser steps taken on it (S = staleness). Every
rank generates, judges and trains on its own share of the prompts; sums over ranks make the metrics and the loss denominator.
Shape suffixes: P prompts of this rank, N rollouts a prompt, B sequences, T padded tokens.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from pipeline_lib.config import RunConfig
from pipeline_lib.generation.parity import measure_logprob_gap, require_parity
from pipeline_lib.generation.protocol import Generator, Sampling
from pipeline_lib.generation.sampling import logprob_problem, sample_and_judge
from pipeline_lib.jobs import TrainJob, read_prompts
from pipeline_lib.messages.finite import NotFiniteError
from pipeline_lib.prompts.rendering import render_prompt
from pipeline_lib.records import Alarm, Prompt
from pipeline_lib.rewards import Reward, make_reward
from pipeline_lib.store.rollout_files import write_rollout_file
from pipeline_lib.training.batches import most_batches_of_step, prompts_of_step
from pipeline_lib.training.checkpoints import Checkpoints, Progress
from pipeline_lib.training.groups import RolloutGroups, gather_outcomes, share_groups
from pipeline_lib.training.metrics import StepClock, Validation, sum_over_ranks, training_step
from pipeline_lib.training.policy import Policy, sum_or_max_over_ranks
from pipeline_lib.training.progress_files import StepFolder
from pipeline_lib.training.ranks import first_problem
from pipeline_lib.training.update import Reference, update_policy
from pipeline_lib.training.watch import DynamicsWatch

PARITY_PROMPTS = 4

logger = logging.getLogger(__name__)


def train(
    job: TrainJob, generator: Generator, tokenizer: Any, report_progress: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Train to `config.train.steps`, from the checkpoint of `job.resume_step`; return the final progress.

    An alarm of the watch can end training earlier, or restore the best checkpoint. Raises ParityError when the engine does not
    follow the trainer's weights, NotFiniteError for a reward or loss that is NaN or infinite.
    """
    config = job.config
    prompts = read_prompts(Path(job.prompts_file))
    reward = make_reward(config.reward, config.train.rollout_limit_tokens)
    policy = Policy(config.train, config.compute, job.base_folder, config.model_revision)
    reference = Reference(config, job.base_folder) if config.train.measure_kl or config.train.kl_coefficient else None
    checkpoints = Checkpoints(Path(job.checkpoints_folder), config.checkpoint.keep_last)
    progress = checkpoints.restore(policy, job.resume_step)
    resume_from(progress, policy, reward, config)
    watch = DynamicsWatch(config.watch, job.run_id)
    folder = StepFolder(Path(job.steps_folder), is_writer=dist.get_rank() == 0)
    if progress.ended:
        return asdict(progress)
    rows = folder.rows(progress.step)
    sync_weights(policy, generator, tokenizer, config, prompts, progress.step)
    for step in range(progress.step + 1, config.train.steps + 1):
        clock = StepClock()
        say = partial(report_phase, report_progress, step, config.train.steps)
        say("generating")
        with naming_step(step, config):
            groups = generate_groups(generator, tokenizer, config, prompts, reward, progress.batches_drawn, clock)
        progress = replace(progress, batches_drawn=progress.batches_drawn + groups.batches_drawn)
        say("updating")
        with clock.measure("update"), naming_step(step, config):
            update = update_policy(policy, reference, groups, config.train)
        with clock.measure("sync"):
            gap = sync_weights(policy, generator, tokenizer, config, prompts, step)
        write_rollouts(job, groups, step)
        record = training_step(job.run_id, step, groups, update, gap, clock, Validation(), reward.target_tokens)
        rows.append(asdict(record))
        can_roll_back = progress.best_step is not None and progress.roll_backs < config.watch.max_roll_backs
        alarms = effective_alarms(watch.examine(rows, progress.watch_since), can_roll_back)
        folder.write_alarms(alarms)
        actions = {alarm.action for alarm in alarms}
        rolls_back = "roll_back" in actions
        ends = step == config.train.steps or "stop" in actions
        if step % config.checkpoint.every_steps == 0 or ends or rolls_back:
            say("checkpointing")
            with clock.measure("checkpoint"), naming_step(step, config):
                if rolls_back:
                    progress = roll_back(checkpoints, policy, reward, progress, config, step)
                    sync_weights(policy, generator, tokenizer, config, prompts, step)
                    validation = Validation()
                else:
                    validation = validate(generator, tokenizer, config, job.validation_file)
                    progress = progress.with_checkpoint(step, validation.accuracy, validation.mean_tokens)
                progress = replace(progress, reward_state=reward.state(), ended="stop" in actions)
                # Before the checkpoint, too: a run killed right after it must not miss the step.
                record = training_step(job.run_id, step, groups, update, gap, clock, validation, reward.target_tokens)
                folder.write_step(record)
                checkpoints.save(policy, tokenizer, progress, validation.accuracy, validation.mean_tokens)
            record = training_step(job.run_id, step, groups, update, gap, clock, validation, reward.target_tokens)
        rows[-1] = asdict(record)
        folder.write_step(record)
        report_progress({"step": step, "steps": config.train.steps, **rows[-1]})
        if ends:
            break
    return asdict(progress)


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


def resume_from(progress: Progress, policy: Policy, reward: Reward[Any], config: RunConfig) -> None:
    """Give reward and learning rate the state they had at a checkpoint."""
    if progress.reward_state:
        reward.load_state(progress.reward_state)
    if progress.roll_backs:
        policy.set_learning_rate_factor(config.watch.roll_back_learning_rate_factor**progress.roll_backs)


def effective_alarms(alarms: list[Alarm], can_roll_back: bool) -> list[Alarm]:
    """Alarms with what they do: one that stops training wins over a roll-back, and so does having nothing to roll back to."""
    stops = any(alarm.action == "stop" for alarm in alarms) or not can_roll_back
    return [replace(alarm, action="stop") if alarm.action == "roll_back" and stops else alarm for alarm in alarms]


def roll_back(
    checkpoints: Checkpoints, policy: Policy, reward: Reward[Any], progress: Progress, config: RunConfig, step: int
) -> Progress:
    """Restore the best checkpoint (weights, optimiser, what the reward knew), lower the learning rate, let the watch begin anew."""
    logger.warning("step %d: rolling back to the checkpoint of step %s", step, progress.best_step)
    taken = policy.optimizer_steps
    reward.load_state(checkpoints.load_best(policy, progress))
    policy.optimizer_steps = taken  # steps of the run so far, those that were undone included
    roll_backs = progress.roll_backs + 1
    policy.set_learning_rate_factor(config.watch.roll_back_learning_rate_factor**roll_backs)
    return replace(progress, step=step, roll_backs=roll_backs, watch_since=step)


def generate_groups(
    generator: Generator,
    tokenizer: Any,
    config: RunConfig,
    prompts: list[Prompt],
    reward: Reward[Any],
    batches_drawn: int,
    clock: StepClock,
) -> RolloutGroups:
    """N judged and rewarded rollouts for each of this rank's prompts.

    With dynamic sampling further batches are drawn until `prompts_per_step` groups of all ranks have a signal: a variance of
    the *shaped* reward, since a group that is right throughout still has one under a length reward. A step sees no prompt twice.
    """
    train = config.train
    most_batches = most_batches_of_step(len(prompts), train.prompts_per_step, train.dynamic_sampling_batches)

    def draw(number: int) -> list[Any]:
        batch = prompts_of_step(prompts, number, train.prompts_per_step, config.seed, most_batches)
        mine = batch[dist.get_rank() :: dist.get_world_size()]
        sampling = Sampling(train.rollout_limit_tokens, train.temperature)
        samples, seconds = sample_and_judge(
            generator, tokenizer, config.prompts, mine, train.num_rollouts, sampling, (config.seed, "train", number)
        )
        clock.add("generation", seconds)
        return samples

    groups = RolloutGroups(draw(batches_drawn + 1), train)
    reward.observe(gather_outcomes(groups.outcomes(reward.reads_text)))
    groups.assign_rewards(reward, sum_tensor_over_ranks)
    if not train.dynamic_sampling_batches:
        return groups
    while groups.batches_drawn < most_batches:
        if sum(gather_counts(int(groups.signal_P.sum()))) >= train.prompts_per_step:
            break
        groups.add_batch(draw(batches_drawn + groups.batches_drawn + 1))
        groups.assign_rewards(reward, sum_tensor_over_ranks)
    quotas = share_groups(gather_counts(int(groups.signal_P.sum())), train.prompts_per_step)
    groups.use_at_most(quotas[dist.get_rank()])
    return groups


def sum_tensor_over_ranks(tensor: torch.Tensor) -> torch.Tensor:
    """The element-wise sum of all ranks' tensors, on the CPU."""
    names = [str(index) for index in range(tensor.numel())]
    sums = sum_over_ranks(dict(zip(names, tensor.flatten().tolist(), strict=True)))
    return torch.tensor([sums[name] for name in names], dtype=tensor.dtype).reshape(tensor.shape)


def gather_counts(count: int) -> list[int]:
    """Every rank's number, by rank."""
    own = {str(rank): float(count if rank == dist.get_rank() else 0) for rank in range(dist.get_world_size())}
    return [int(value) for value in sum_over_ranks(own).values()]


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


def validate(generator: Generator, tokenizer: Any, config: RunConfig, validation_file: str | None) -> Validation:
    """Held-out accuracy at the target budget L_T and at any length, and the mean length; all None without validation prompts."""
    if config.validation is None or validation_file is None:
        return Validation()
    mine = read_prompts(Path(validation_file))[dist.get_rank() :: dist.get_world_size()]
    sampling = Sampling(config.validation.limit_tokens or config.train.rollout_limit_tokens, config.train.temperature)
    samples, _ = sample_and_judge(
        # The same draws at every checkpoint: differences between checkpoints are then the policy's, not the seed's.
        generator, tokenizer, config.validation.source, mine, config.validation.num_samples, sampling, (config.seed, "validation"),
    )  # fmt: skip
    within = sum(sample.grade.correct and sample.num_tokens <= config.reward.target_tokens for sample in samples)
    correct = sum(sample.grade.correct for sample in samples)
    counts: dict[str, float] = {
        "within": within,
        "correct": correct,
        "tokens": sum(s.num_tokens for s in samples),
        "samples": len(samples),
    }
    if problem := first_problem(logprob_problem(samples)):
        raise NotFiniteError(f"validation: {problem}")
    sums = sum_over_ranks(counts)
    return Validation(*(sums[name] / sums["samples"] for name in ("within", "tokens", "correct")))


def write_rollouts(job: TrainJob, groups: RolloutGroups, step: int) -> None:
    """Every rollout of the step as Parquet, one file a rank."""
    path = Path(job.rollouts_folder) / f"step-{step:05d}-rank-{dist.get_rank()}.parquet"
    write_rollout_file(path, groups.rollouts(job.run_id, step, job.config.name, job.config.prompts.name))
