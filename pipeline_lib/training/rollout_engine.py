"""The engine's part of the RL loop: it generates the groups of a step, takes over the trainer's weights, and measures held-out accuracy.

Every rank has a whole engine and generates for its own share of the prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline_lib.config import RunConfig
from pipeline_lib.generation.parity import measure_logprob_gap, require_parity
from pipeline_lib.generation.protocol import Generator, Sampling
from pipeline_lib.generation.sampling import Sample, logprob_problem, sample_and_judge
from pipeline_lib.messages.finite import stop_for
from pipeline_lib.prompts.rendering import render_prompt
from pipeline_lib.records import Prompt
from pipeline_lib.rewards import Reward
from pipeline_lib.training.batches import most_batches_of_step, prompts_of_step
from pipeline_lib.training.groups import RolloutGroups, outcomes_of_all_ranks, share_groups
from pipeline_lib.training.metrics import StepClock, Validation
from pipeline_lib.training.policy import Policy
from pipeline_lib.training.ranks import first_problem, gather, largest, own_share, rank, sum_each

PARITY_PROMPTS = 4


@dataclass(frozen=True, slots=True)
class RolloutEngine:
    """One rank's generator under a run's settings; training draws from `prompts`, and `validation_prompts` are held out."""

    generator: Generator
    tokenizer: Any
    config: RunConfig
    prompts: Sequence[Prompt]
    validation_prompts: Sequence[Prompt] = ()

    def generate_groups(self, reward: Reward[Any], batches_drawn: int, clock: StepClock) -> RolloutGroups:
        """N judged and rewarded rollouts for each of this rank's prompts of the step after `batches_drawn` batches.

        With dynamic sampling further batches are drawn until `prompts_per_step` groups of all ranks have a signal: a variance of
        the *shaped* reward, since a group that is right throughout still has one under a length reward. A step sees no prompt twice.
        """
        train = self.config.train
        most_batches = most_batches_of_step(len(self.prompts), train.prompts_per_step, train.dynamic_sampling_batches)

        def draw(number: int) -> list[Sample]:
            batch = prompts_of_step(self.prompts, number, train.prompts_per_step, self.config.seed, most_batches)
            sampling = Sampling(train.rollout_limit_tokens, train.temperature)
            samples, seconds = sample_and_judge(
                self.generator, self.tokenizer, self.config.prompts, own_share(batch), train.num_rollouts, sampling,
                (self.config.seed, "train", number),
            )  # fmt: skip
            clock.add("generation", seconds)
            return samples

        groups = RolloutGroups(draw(batches_drawn + 1), train)
        reward.observe(outcomes_of_all_ranks(groups.outcomes(reward.reads_text)))
        groups.assign_rewards(reward)
        if not train.dynamic_sampling_batches:
            return groups
        while groups.batches_drawn < most_batches and sum(gather(groups.num_with_signal)) < train.prompts_per_step:
            groups.add_batch(draw(batches_drawn + groups.batches_drawn + 1))
            groups.assign_rewards(reward)
        groups.use_at_most(share_groups(gather(groups.num_with_signal), train.prompts_per_step)[rank()])
        return groups

    def sync_weights(self, policy: Policy, step: int) -> float:
        """Put the trainer's weights into the engine, prove that it generates with them, and return the log-prob gap (nats)."""
        self.generator.load_weights(policy.named_weights())
        problems = [prompt.problem for prompt in self.prompts[:PARITY_PROMPTS]]
        rendered = [render_prompt(self.tokenizer, self.config.prompts, problem) for problem in problems]
        gap = largest(measure_logprob_gap(self.generator, policy.score, rendered, self.config.train.temperature))
        require_parity(gap, self.config.generation.parity_tolerance, step)
        return gap

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
