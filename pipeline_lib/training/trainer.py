"""The verbs of the RL loop on one rank: generate rewarded groups, put the trainer's weights into the engine, validate, checkpoint."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.config import RunConfig
from pipeline_lib.generation.parity import logprob_differences, require_one_digest, require_parity
from pipeline_lib.generation.protocol import Generator, Sampling
from pipeline_lib.generation.sampling import Sample, logprob_problem, sample_and_judge
from pipeline_lib.jobs import TrainJob, read_prompts
from pipeline_lib.messages.finite import stop_for
from pipeline_lib.prompts.chat_templates import served_tokenizer
from pipeline_lib.prompts.rendering import render_prompt
from pipeline_lib.records import Prompt, TrainingStep
from pipeline_lib.rewards import Reward, make_reward
from pipeline_lib.training.ahead import BatchesAhead, RemoteEngines, for_batch
from pipeline_lib.training.batches import most_batches_of_step, prompts_of_step
from pipeline_lib.training.checkpoints import Checkpoints, Progress
from pipeline_lib.training.groups import RolloutGroups, groups_of, outcomes_of_all_ranks
from pipeline_lib.training.metrics import StepClock, Validation
from pipeline_lib.training.policy import Policy, Weights
from pipeline_lib.training.ranks import first_problem, gather, own_share, rank, sum_each, world_size
from pipeline_lib.training.step_folder import StepFolder
from pipeline_lib.training.update import Reference

PARITY_PROMPTS = 4

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trainer:
    """One rank's part in training: the policy, the base model for its KL, the reward, the engine, and what is written where.

    Every rank has an engine, or a part of one, and trains on what its own share of `prompts` has brought, whoever generated it; of
    the held-out `validation_prompts` it generates its own share.
    """

    config: RunConfig
    policy: Policy
    reference: Reference | None
    reward: Reward[Any]
    generator: Generator
    tokenizer: Any
    prompts: Sequence[Prompt]
    validation_prompts: Sequence[Prompt]
    checkpoints: Checkpoints
    folder: StepFolder

    @classmethod
    def of(cls, job: TrainJob, generator: Generator, tokenizer: Any) -> "Trainer":
        """Load the base model, the prompts and the reward of a job."""
        config = job.config
        policy = Policy(config.train, config.compute, job.base_folder, config.model_revision, config.seed)
        return cls(
            config,
            policy,
            Reference(config, job.base_folder, policy) if config.train.measure_kl or config.train.kl_coefficient else None,
            make_reward(config.reward, config.train.rollout_limit_tokens),
            generator,
            tokenizer,
            read_prompts(Path(job.prompts_file)),
            read_prompts(Path(job.validation_file)) if job.validation_file else [],
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

    def draw(self, generator: Generator, number: int) -> tuple[list[Sample], float]:
        """N judged rollouts for each of this rank's prompts of a batch, and the seconds that generation took."""
        return self._sample(generator, number, own_share(self._batch(number)))

    def draw_together(self, number: int) -> tuple[list[Sample], float]:
        """The same, of rollouts dealt to all ranks one by one: those of a prompt resemble each other in length. One collective."""
        batch, num_rollouts = self._batch(number), self.config.train.num_rollouts
        samples, seconds = self._sample(for_batch(self.generator, number), number, batch, slice(rank(), None, world_size()))
        return groups_of(own_share(batch), num_rollouts, gather(samples)), seconds

    def _batch(self, number: int) -> list[Prompt]:
        return prompts_of_step(self.prompts, number, self.config.train.prompts_per_step, self.config.seed, self._most_batches)

    def _sample(
        self, generator: Generator, number: int, prompts: Sequence[Prompt], part: slice = slice(None)
    ) -> tuple[list[Sample], float]:
        train = self.config.train
        return sample_and_judge(
            generator, self.tokenizer, self.config.prompts, prompts, train.num_rollouts,
            Sampling(train.rollout_limit_tokens, train.temperature), (self.config.seed, "train", number), part=part,
        )  # fmt: skip

    @property
    def _most_batches(self) -> int:
        train = self.config.train
        return most_batches_of_step(len(self.prompts), train.prompts_per_step, train.dynamic_sampling_batches)

    def generate_groups(self, batches_drawn: int, clock: StepClock, ahead: BatchesAhead | None = None) -> RolloutGroups:
        """Rewarded groups of the step after `batches_drawn` batches; of those `ahead` the oldest.

        With dynamic sampling further batches are drawn until `prompts_per_step` groups of all ranks have a signal: a variance of
        the *shaped* reward, since a group that is right throughout still has one under a length reward. A step sees no prompt twice.
        """
        train = self.config.train

        def draw(number: int) -> list[Sample]:
            samples, seconds = self.draw_together(number)
            clock.add("generation", seconds)
            clock.generated(seconds)
            return samples

        if ahead:
            samples, version, seconds, waited = ahead.take(batches_drawn + 1)
            clock.add("generation", waited)
            clock.generated(seconds)
            groups = RolloutGroups(samples, train, self.policy.optimizer_steps - version, version)
        else:
            groups = RolloutGroups(draw(batches_drawn + 1), train, version=self.policy.optimizer_steps)
        self.reward.observe(outcomes_of_all_ranks(groups.outcomes(self.reward.reads_text)))
        groups.assign_rewards(self.reward)
        if not train.dynamic_sampling_batches:
            return groups
        while groups.batches_drawn < self._most_batches and sum(gather(groups.num_with_signal)) < train.prompts_per_step:
            groups.add_batch(draw(batches_drawn + groups.batches_drawn + 1))
            groups.assign_rewards(self.reward)
        groups.use_at_most(train.prompts_per_step)
        return groups

    def sync_weights(self, step: int) -> float:
        """Put the trainer's weights into the engine, prove that it holds and generates with them, and return the log-prob gap (nats).

        Raises ParityError, on all ranks alike, when it does not.
        """
        version = self._version(step)
        require_one_digest(gather(self.generator.load_weights(Weights(self.policy), version)), version)
        problems = [prompt.problem for prompt in self.prompts[:PARITY_PROMPTS]]
        rendered = [render_prompt(self.tokenizer, self.config.prompts, problem) for problem in problems]
        own = logprob_differences(self.generator, self.policy.score, rendered, self.config.train.temperature)
        differences = np.concatenate(gather(own))
        is_float32 = self.config.generation.dtype == self.config.compute.precision == "float32"
        require_parity(differences, self.config.generation, is_float32, f"after the weight sync of step {step}")
        return float(np.max(np.abs(differences)))

    @property
    def _served_tokenizer(self) -> Any:
        return served_tokenizer(self.tokenizer, self.config.prompts)

    def _version(self, step: int) -> str:
        return f"step {step} ({self.policy.optimizer_steps} optimiser steps)"

    def push_weights(self, engines: RemoteEngines, step: int) -> None:
        """Send the trainer's weights to engines that are still at work with older ones, and prove that they hold them when they do."""
        engines.push(Weights(self.policy), self._version(step))

    def checkpoint(
        self, progress: Progress, record: TrainingStep, actions: set[str], clock: StepClock
    ) -> tuple[Progress, TrainingStep]:
        """Measure held-out accuracy, or roll back, and save; returns the progress and what the step's row has then."""
        step, validation = record.step, Validation()
        with clock.measure("checkpoint"):
            if "roll_back" in actions:
                self.generator.sleep()
                progress = self.roll_back(progress, step)
                self.sync_weights(step)
            else:
                validation = self.validate()
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
            self.checkpoints.save(self.policy, self._served_tokenizer, progress, validation.accuracy, validation.mean_tokens)
        return progress, replace(record, checkpoint_seconds=clock.seconds("checkpoint"), other_seconds=clock.rest())

    def save_to_resume(self, progress: Progress, record: TrainingStep, clock: StepClock) -> tuple[Progress, TrainingStep]:
        """Save without measuring: neither what the best checkpoint is nor which are kept depends on when this is called."""
        with clock.measure("checkpoint"):
            progress = replace(progress, step=record.step, reward_state=self.reward.state())
            self.folder.write_step(record)
            self.checkpoints.save(self.policy, self._served_tokenizer, progress, None, only_to_resume=True)
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

    def validate(self) -> Validation:
        """Held-out accuracy at the target budget L_T and at any length, and the mean length; all None without held-out prompts."""
        config, settings = self.config, self.config.validation
        if settings is None or not self.validation_prompts:
            return Validation()
        sampling = Sampling(settings.limit_tokens or config.train.rollout_limit_tokens, config.train.temperature)
        samples, _ = sample_and_judge(
            # The same draws at every checkpoint: differences between checkpoints are then the policy's, not the seed's.
            self.generator, self.tokenizer, settings.source, own_share(self.validation_prompts), settings.num_samples, sampling,
            (config.seed, "validation"),
        )  # fmt: skip
        problem = first_problem(logprob_problem(samples))
        stop_for(problem and f"validation: {problem}")
        sums = sum_each(
            {
                "within": sum(sample.grade.correct and sample.num_tokens <= config.reward.target_tokens for sample in samples),
                "tokens": sum(sample.num_tokens for sample in samples),
                "correct": sum(sample.grade.correct for sample in samples),
                "samples": len(samples),
            }
        )
        return Validation(*(sums[name] / sums["samples"] for name in ("within", "tokens", "correct")))
