"""Guidelines on the optimisation: rollouts per prompt, staleness, and the parts of the loss that act on length."""

from pipeline_lib.guidelines.plan import PlannedRun
from pipeline_lib.guidelines.rule import Advice, rule

PAPER_ROLLOUTS = 8
RECOMMENDED_ROLLOUTS = 24
MODERATE_STALENESS = 4
LARGEST_PEER_KL = 0.001
SMALLEST_PEER_CAP, LARGEST_PEER_CAP = 2.0, 5.0
SMALLEST_PEER_CISPO_CLIP = 4.0
LARGEST_SEQUENCE_CLIP = 0.01
PAPER_LEARNING_RATE, LARGEST_PEER_LEARNING_RATE = 1e-6, 4e-6
LORA_RATE_FACTOR = 10
FEWEST_PAPER_STEPS = 100


@rule(
    ["warning", "note"],
    basis="F4, guideline 1",
    fires="train.num_rollouts below 8, fewer than the paper tried (warning), or below the recommended 24 (note)",
)
def few_rollouts(plan: PlannedRun) -> Advice | None:
    """More rollouts per prompt make positives denser: length adapts faster to the same floor, and Mean@8 is better; Pass@8
    hardly moves."""
    number = plan.config.train.num_rollouts
    if number >= RECOMMENDED_ROLLOUTS:
        return None
    settings = (f"train.num_rollouts={RECOMMENDED_ROLLOUTS}",)
    is_warning = number < PAPER_ROLLOUTS
    remedy = "Take as many as can be afforded, up to 24."
    return Advice("warning" if is_warning else "note", f"train.num_rollouts = {number}", remedy, settings)


@rule(
    ["warning", "note"],
    basis="F6, guideline 4",
    fires="train.staleness above 4 (warning; ours, the paper has 2, 4, 8, 16), above 1 for a model of 4 billion parameters "
    "or more (warning; ours) or of unknown size (note)",
)
def stale_rollouts(plan: PlannedRun) -> Advice | None:
    """More optimiser steps per batch of rollouts shorten answers faster, then entropy rises and length rebounds (S = 16 after
    about 400 steps, on 1.5 billion parameters). The paper's advice is moderate staleness, and on-policy above all for larger
    models."""
    staleness, model = plan.config.train.staleness, plan.model
    if staleness == 1 or (staleness <= MODERATE_STALENESS and model.num_parameters is not None and not model.is_large):
        return None
    found = f"train.staleness = {staleness}, base_model = '{plan.config.base_model}', {model.text}"
    certain = staleness > MODERATE_STALENESS or model.is_large
    return Advice("warning" if certain else "note", found, "Train on-policy.", ("train.staleness=1",))


@rule(["note"], basis="F3, OpenRLHF PR 1272", fires="train.dynamic_sampling_batches above 0")
def dynamic_sampling(plan: PlannedRun) -> Advice | None:
    """Groups whose shaped rewards are all equal are replaced. With a 0/1 reward these are the groups that are solved, or
    failed, by all: what stays is harder than the selection on average once most prompts are solved. With a reward that varies
    with length hardly any group is ever equal, and nothing is replaced."""
    batches = plan.config.train.dynamic_sampling_batches
    if batches == 0:
        return None
    effect = "hardly ever acts" if plan.reward.prefers_shorter else "replaces groups that are solved or failed by all"
    found = f"train.dynamic_sampling_batches = {batches}: with reward.name = '{plan.config.reward.name}' it {effect}"
    remedy = "Watch batches_drawn and the pass rates of what is used; the paper does without."
    return Advice("note", found, remedy, ("train.dynamic_sampling_batches=0",))


@rule(["warning"], basis="protocol, Dr. GRPO (arXiv 2503.20783)", fires="train.loss_aggregation = 'sequence_mean'")
def sequence_mean_loss(plan: PlannedRun) -> Advice | None:
    """Every rollout's loss is divided by its own length, so that a token of a long wrong answer is punished less than one of a
    short wrong answer: a reward for length beside the reward's own, and against it. The paper's loss is token-level."""
    if plan.config.train.loss_aggregation != "sequence_mean":
        return None
    settings = ("train.loss_aggregation=token_mean",)
    return Advice("warning", "train.loss_aggregation = 'sequence_mean'", "Take the mean over all tokens, or dr_grpo.", settings)


@rule(
    ["warning", "note"],
    basis="protocol; Laser, ThinkPrune, DLER",
    fires="train.kl_coefficient above 0 (note), above 0.001, the largest of the length recipes read (warning)",
)
def kl_penalty(plan: PlannedRun) -> Advice | None:
    """The paper trains without it. The term pulls every token towards the base model, and so towards the long answers that
    training is to leave. Laser and ThinkPrune use 0.001, DLER 0.0005."""
    coefficient = plan.config.train.kl_coefficient
    if coefficient == 0:
        return None
    found = f"train.kl_coefficient = {coefficient:g}"
    remedy = "Measure the KL without training on it."
    settings = ("train.kl_coefficient=0.0", "train.measure_kl=true")
    return Advice("warning" if coefficient > LARGEST_PEER_KL else "note", found, remedy, settings)


@rule(
    ["note"],
    basis="GSPO (arXiv 2507.18071), trl#4772",
    fires="train.importance_ratio = 'sequence' off-policy, with a clip range meant for single tokens (above 0.01; ours)",
)
def sequence_ratio(plan: PlannedRun) -> Advice | None:
    """The geometric mean over thousands of tokens stays near 1: GSPO clips at 3e-4 and 4e-4. A range of 0.2 hardly ever clips,
    and when it does it takes a whole rollout. (The sum over the rollout in place of the mean drops long rollouts first; it is
    not offered here.)"""
    train = plan.config.train
    too_wide = max(train.clip_low, train.clip_high) > LARGEST_SEQUENCE_CLIP
    if train.importance_ratio != "sequence" or train.staleness == 1 or train.objective != "clip" or not too_wide:
        return None
    found = f"train.importance_ratio = 'sequence', clip_low = {train.clip_low:g}, clip_high = {train.clip_high:g}"
    return Advice("note", found, "Use GSPO's range.", ("train.clip_low=3e-4", "train.clip_high=4e-4"))


@rule(["warning"], basis="TRL, SkyRL", fires="train.objective = 'cispo' off-policy with train.clip_high below 4")
def cispo_clip(plan: PlannedRun) -> Advice | None:
    """For CISPO the clip is the cap of a weight, not a trust region: TRL advises epsilon_high 5, SkyRL takes 4. At 0.28 the
    weight of a token that has become likelier ends at 1.28."""
    train = plan.config.train
    if train.objective != "cispo" or train.staleness == 1 or train.clip_high >= SMALLEST_PEER_CISPO_CLIP:
        return None
    found = f"train.objective = 'cispo', train.clip_high = {train.clip_high:g}"
    return Advice("warning", found, "Widen the clip.", ("train.clip_low=1.0", "train.clip_high=5.0"))


@rule(
    ["warning", "note"],
    basis="verl, slime, SkyRL, TRL, OpenRLHF",
    fires="train.engine_ratio_cap below 2 (warning) or above 5 (note): the range of the peers",
)
def engine_ratio_cap(plan: PlannedRun) -> Advice | None:
    """The correction weighs each token by min(trainer / engine probability, cap). Near 1 the cap cuts the upper half of plain
    rounding noise and weighs tokens down; far above it corrects without a bound. verl, slime and SkyRL cap at 2, TRL at 3,
    OpenRLHF at 5."""
    cap = plan.config.train.engine_ratio_cap
    if cap is None or SMALLEST_PEER_CAP <= cap <= LARGEST_PEER_CAP:
        return None
    settings = (f"train.engine_ratio_cap={SMALLEST_PEER_CAP}",)
    is_warning = cap < SMALLEST_PEER_CAP
    return Advice("warning" if is_warning else "note", f"train.engine_ratio_cap = {cap:g}", "Cap at 2.", settings)


@rule(["note"], basis="DLER, Laser", fires="train.temperature other than 1")
def training_temperature(plan: PlannedRun) -> Advice | None:
    """Entropy and log-probs are then those of the tempered distribution, not of the model's own, and figures of the two cannot
    be compared. DLER trains at 1.0, Laser at 0.6."""
    temperature = plan.config.train.temperature
    if temperature == 1.0:
        return None
    settings = ("train.temperature=1.0",)
    return Advice("note", f"train.temperature = {temperature:g}", "Sample at 1, or keep it for all runs compared.", settings)


@rule(
    ["warning"],
    basis="protocol, L1-Max",
    fires="train.learning_rate above 4e-6, the largest of the recipes read (ten times that with LoRA; ours), for a model that is "
    "no toy (0.1 billion parameters; ours)",
)
def high_learning_rate(plan: PlannedRun) -> Advice | None:
    """The paper trains at 1e-6, AdaptThink at 2e-6, L1-Max at 4e-6. Adapters (LoRA) take about ten times the rate of whole
    weights."""
    rate, factor = plan.config.train.learning_rate, LORA_RATE_FACTOR if plan.config.train.lora else 1
    if plan.model.is_toy or rate <= factor * LARGEST_PEER_LEARNING_RATE:
        return None
    settings = (f"train.learning_rate={factor * PAPER_LEARNING_RATE:g}",)
    remedy = "Start at the paper's rate" + (", times ten." if plan.config.train.lora else ".")
    return Advice("warning", f"train.learning_rate = {rate:g}", remedy, settings)


@rule(["note"], basis="F1, F9", fires="train.steps below 100, the fewest of the paper's Qwen3 runs, for a model that is no toy")
def short_training(plan: PlannedRun) -> Advice | None:
    """Length falls first, and accuracy recovers only in the second stage, reasoning refinement. What stops early shows the loss
    without the gain."""
    steps = plan.config.train.steps
    if plan.model.is_toy or steps >= FEWEST_PAPER_STEPS:
        return None
    remedy = "Train until length has been flat for a while."
    return Advice("note", f"train.steps = {steps}", remedy, (f"train.steps={FEWEST_PAPER_STEPS}",))
