"""The row types that cross stages. Field names are the column names of the SQL contract (docs/reference/schema.md)."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Stage = Literal["profile", "train", "evaluate"]
FinishReason = Literal["stop", "length"]
AnswerFrom = Literal["boxed", "last_number", "after", "pattern"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A problem with a checkable answer. `problem` is the bare statement, before suffix and chat template.

    `tests` is what its grader needs beside the answer (JSON): of code the tests (see pipeline_lib.grading.code), else metadata;
    `tolerance` is the absolute error the problem allows.
    """

    prompt_id: str
    source: str
    domain: str
    problem: str
    answer: str
    tests: str | None = None
    tolerance: float | None = None


@dataclass(frozen=True, slots=True)
class AnswerRule:
    """Where a response's answer stands; `text` is the mark that it is "after", or the "pattern" that finds it."""

    answer_from: AnswerFrom = "boxed"
    text: str = ""


BOXED = AnswerRule()


@dataclass(frozen=True, slots=True)
class Grade:
    """A judged response: the extracted answer (None when there is none), whether it is right, and why."""

    answer: str | None
    correct: bool
    reason: str  # correct | wrong | no_answer | truncated | timeout | error; code also runtime_error, *_limit; functions add ": text"


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine returns for one request. `token_ids` and `logprobs` have the same length, the end token included.

    Of a model that is served elsewhere there are no ids, log-probs where it gives them, and what it counted.
    """

    token_ids: list[int]
    logprobs: list[float]
    text: str
    finish_reason: FinishReason
    counted_tokens: int | None = None
    counted_prompt_tokens: int | None = None

    @property
    def num_tokens(self) -> int:
        """Length in tokens, the end token included."""
        return len(self.token_ids) if self.counted_tokens is None else self.counted_tokens


@dataclass(slots=True)
class Rollout:
    """One judged rollout of any stage: a row of the `rollouts` view (Parquet)."""

    run_id: str
    stage: Stage
    step: int
    model: str
    source: str
    prompt_id: str
    sample_index: int
    num_tokens: int
    finish_reason: FinishReason
    answer: str | None
    correct: bool
    grade_reason: str
    text: str
    reward: float | None = None
    advantage: float | None = None
    masked: bool = False
    policy_lag: int = 0
    mean_logprob: float | None = None
    policy_version: int | None = None
    num_prompt_tokens: int | None = None
    answer_appears: bool | None = None
    tokens_to_answer: int | None = None
    restarts: int | None = None
    repeated_fraction: float | None = None


@dataclass(frozen=True, slots=True)
class DifficultyEstimate:
    """Pass rate of one prompt over N rollouts of the profiled model."""

    run_id: str
    prompt_id: str
    num_rollouts: int
    num_correct: int
    pass_rate: float
    mean_tokens: float | None  # None when only the pass rate was recorded
    num_answered: int | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Whether a prompt is trained on, and why. `selected` prompts form the training set."""

    run_id: str
    prompt_id: str
    subset: str  # easy | hard: the difficulty class by the paper's rule; all: it has none, having been cleaned out
    selected: bool
    reason: str
    cause: str = "pass_rate"  # what decided: pass_rate, or a cause of pipeline_lib.selection.cleaning


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """The metrics of one step: one batch of rollouts and the optimiser steps taken on it."""

    run_id: str
    step: int
    reward_mean: float
    accuracy: float
    mean_tokens: float
    mean_tokens_correct: float | None
    mean_tokens_incorrect: float | None
    entropy: float
    truncated_fraction: float
    positive_fraction: float
    zero_variance_fraction: float
    kl: float | None
    grad_norm: float | None
    loss: float | None
    clip_fraction: float | None
    learning_rate: float
    logprob_gap: float
    policy_lag: float
    optimizer_steps: int
    num_rollouts: int
    tokens_per_second: float
    generation_seconds: float
    update_seconds: float
    sync_seconds: float
    other_seconds: float
    checkpoint_seconds: float
    validation_accuracy: float | None = None
    validation_mean_tokens: float | None = None
    validation_full_accuracy: float | None = None
    target_tokens: float | None = None
    masked_fraction: float | None = None
    batch_optimizer_steps: int | None = None
    largest_policy_lag: int | None = None
    batches_drawn: int | None = None
    engine_ratio_capped_fraction: float | None = None
    logprob_gap_mean: float | None = None
    logprob_gap_k3: float | None = None
    logprob_gap_p999: float | None = None
    engine_ratio_outside_fraction: float | None = None
    answered_fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """A sign in the training dynamics that the run may be going wrong."""

    run_id: str
    step: int
    kind: str  # entropy_spike | length_collapse | length_rebound | reward_starvation | engine_gap
    value: float
    threshold: float
    action: str = "warn"  # warn | stop | roll_back


@dataclass(frozen=True, slots=True)
class Phase:
    """One of the two stages of training (finding F1); `first` and `last` values are means over a few steps at its ends."""

    run_id: str
    phase: str  # length_adaptation | reasoning_refinement
    first_step: int
    last_step: int
    mean_tokens_first: float
    mean_tokens_last: float
    accuracy_first: float
    accuracy_last: float
    entropy_first: float
    entropy_last: float


@dataclass(frozen=True, slots=True)
class RunEvent:
    """A worker that died while a stage was worked on; `done` counts steps of training, or shards of rollouts."""

    run_id: str
    happened_at: datetime
    kind: Literal["worker_restarted", "worker_given_up"]
    stage: str
    done: int
    reason: str


@dataclass(frozen=True, slots=True)
class EndpointUsage:
    """What a stage has asked of an endpoint in one sitting: requests, those sent again among them, tokens, and what they cost."""

    run_id: str
    stage: str
    started_at: datetime
    model: str
    requests: int
    retries: int
    input_tokens: int
    output_tokens: int
    seconds: float
    cost: float | None  # None where no price is configured
    currency: str


@dataclass(frozen=True, slots=True)
class FleetEvent:
    """What an actor of a ray fleet did, for so many `seconds` from `happened_at` on, or what befell it there (None)."""

    run_id: str
    happened_at: datetime
    actor: str  # generator-3 | trainer-0
    node: str
    kind: str  # started | loaded | generated | sent | updated | saved | died | hung
    version: str  # the weights that it held; empty of a trainer
    batch: int | None
    seconds: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class CheckpointRecord:
    """A saved state of training."""

    run_id: str
    step: int
    path: str
    is_best: bool
    validation_accuracy: float | None
    model_name: str | None = None
    model_version: int | None = None


@dataclass(frozen=True, slots=True)
class BudgetPoint:
    """Accuracy and length of one model on one benchmark at one token budget."""

    run_id: str
    model: str
    step: int
    benchmark: str
    budget_tokens: int
    num_prompts: int
    num_samples: int
    mean_at_k: float
    pass_at_k: float
    ci_low: float
    ci_high: float
    mean_tokens: float
    mean_tokens_correct: float | None
    mean_tokens_incorrect: float | None
    truncated_fraction: float
    answered_fraction: float | None = None
    mean_prompt_tokens: float | None = None


@dataclass(frozen=True, slots=True)
class Promotion:
    """One decision about the champion of a registered model; the schema says what each column means."""

    decision_id: str
    model_name: str
    number: int
    kind: Literal["retrain", "promote", "rollback"]
    decision: Literal["promoted", "kept", "rolled_back"]
    cause: str
    reason: str
    decided_at: datetime
    champion_version: int | None
    champion_after: int | None
    previous_after: int | None
    run_id: str | None = None
    base_model: str | None = None
    challenger_version: int | None = None
    challenger_step: int | None = None
    num_prompts: int | None = None
    accuracy_margin: float | None = None
    confidence: float | None = None
    token_difference: float | None = None
    token_ci_low: float | None = None
    token_ci_high: float | None = None
    token_change: float | None = None
    token_change_ci_low: float | None = None
    token_change_ci_high: float | None = None
    accuracy_difference: float | None = None
    accuracy_ci_low: float | None = None
    accuracy_ci_high: float | None = None
    prefect_flow_run_id: str | None = None
    mlflow_run_id: str | None = None
    applied_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PromotionBudget:
    """What the gate compared on one benchmark within one budget."""

    decision_id: str
    benchmark: str
    budget_tokens: int
    num_prompts: int
    champion_accuracy: float
    challenger_accuracy: float
    difference: float
    ci_low: float
    ci_high: float
    passed: bool


@dataclass(frozen=True, slots=True)
class StageResult:
    """That a stage (or a unit of it) was done for the inputs with this fingerprint."""

    run_id: str
    stage: str
    unit: str
    fingerprint: str
    seconds: float
    reused_from: str | None = None
    summary: dict[str, Any] = field(default_factory=dict)
