"""Guidelines on length: L_R and L_T, and what the reward pays for."""

import math

from pipeline_lib.guidelines.plan import PlannedRun
from pipeline_lib.guidelines.rule import Advice, Severity, rule

# The paper's first setting, 16k / 4k, against which L_R = L_T was the better trade-off; and 8k / 6k, its setting for instruct models.
WIDE_RATIO = 4.0
INSTRUCT_RATIO = 4 / 3
# F7: the adaptive target is the 90 % quantile of correct lengths.
ADAPTIVE_QUANTILE = 0.9
FEW_FIT = 0.1


@rule(
    ["warning", "note"],
    basis="F5, guideline 2",
    fires="the reward gives a correct answer beyond L_T no more than a wrong one, and L_R is at least 4 L_T, the paper's "
    "first setting (warning), or above L_T at all (note; instruct models only beyond 4/3 L_T, the paper's 8k / 6k)",
)
def limit_above_target(plan: PlannedRun) -> Advice | None:
    """L_R = L_T has the best Pareto front in the paper: the positives are the same, the negatives are cut much shorter, and no
    token is generated that could earn anything. For instruct models it sets L_T slightly below L_R."""
    ratio = plan.limit_tokens / plan.target_tokens
    ends_at_target = plan.reward.cuts_at_target and not plan.reward.moves_target
    if not ends_at_target or ratio <= (INSTRUCT_RATIO if plan.is_instruct else 1.0):
        return None
    found = f"train.rollout_limit_tokens = {plan.limit_tokens}, reward.target_tokens = {plan.target_tokens}"
    limit = plan.target_tokens * 4 // 3 if plan.is_instruct else plan.target_tokens
    remedy = "Sample at the target length." if not plan.is_instruct else "Keep L_R slightly above L_T."
    settings = plan.length_settings(plan.target_tokens, limit)
    return Advice("warning" if ratio >= WIDE_RATIO else "note", found, remedy, settings)


@rule(["note"], basis="F9, guideline 2", fires="an instruct model, by its name or chat style, with L_T = L_R")
def instruct_target(plan: PlannedRun) -> Advice | None:
    """For instruct models the paper sets L_T slightly below L_R (8k / 6k for Qwen3-4B-Instruct-2507)."""
    if not plan.is_instruct or plan.limit_tokens != plan.target_tokens or not plan.reward.cuts_at_target:
        return None
    found = f"base_model = '{plan.config.base_model}', reward.target_tokens = {plan.target_tokens} = train.rollout_limit_tokens"
    if plan.config.train.negative_rollouts == "L_R=L_T":
        return Advice("note", found, "Set L_T to three quarters of L_R, and train.negative_rollouts = 'vanilla'.")
    return Advice("note", found, "Set L_T to three quarters of L_R.", (f"reward.target_tokens={plan.limit_tokens * 3 // 4}",))


@rule(
    ["error", "warning", "note"],
    basis="guideline 2, trl#5697",
    fires="by the profile, no correct answer fits into L_T (error), less than a tenth (warning; ours), or less than half "
    "(note; ours)",
)
def target_too_short(plan: PlannedRun) -> Advice | None:
    """What does not fit earns nothing, so positives get rare however easy the prompts are. The paper's advice is to raise the
    target when length falls too fast; its adaptive variant takes the 90 % quantile of correct lengths."""
    lengths = plan.correct_lengths
    fitting = sum(length <= plan.rewarded_tokens for length in lengths) / len(lengths) if lengths else None
    if fitting is None or fitting >= 0.5:
        return None
    median, ninth = _quantile(lengths, 0.5), _quantile(lengths, ADAPTIVE_QUANTILE)
    found = (
        f"{fitting:.1%} of the correct answers to the selected prompts have at most {plan.rewarded_tokens} tokens (median {median}, 90 % "
        f"quantile {ninth})"
    )
    severity: Severity = "error" if fitting == 0 else "warning" if fitting < FEW_FIT else "note"
    limit = max(median, plan.limit_tokens)
    return Advice(severity, found, "Start at the median and lower it in a second run.", plan.length_settings(median, limit))


@rule(
    ["warning", "note"],
    basis="F7",
    fires="by the profile, no rollout is longer than what is rewarded (warning), or less than a tenth is (note; ours), and "
    "the reward has no other look at length",
)
def target_too_loose(plan: PlannedRun) -> Advice | None:
    """Then next to no rollout is told to be shorter. Even the paper's adaptive target, the 90 % quantile of correct lengths,
    leaves a tenth of the correct answers too long."""
    too_long = plan.selected.too_long_share(plan.rewarded_tokens) if plan.selected else None
    if too_long is None or too_long >= 1 - ADAPTIVE_QUANTILE or not plan.reward.presses_at_one_length:
        return None
    found = f"{too_long:.1%} of the profile's rollouts of the selected prompts have more than {plan.rewarded_tokens} tokens"
    if not plan.correct_lengths:
        return Advice("warning" if too_long == 0 else "note", found, "Lower L_T, and L_R with it.")
    median = _quantile(plan.correct_lengths, 0.5)
    remedy = "Lower L_T, and L_R with it, towards the median of the correct answers."
    return Advice("warning" if too_long == 0 else "note", found, remedy, plan.length_settings(median, median))


def _quantile(rising_lengths: list[int], level: float) -> int:
    """The smallest length that at least this share does not exceed."""
    return rising_lengths[math.ceil(level * len(rising_lengths)) - 1]


@rule(
    ["warning", "note"],
    basis="F5, ThinkPrune",
    fires="the reward of a correct answer does not depend on its length up to L_R: with L_R = L_T (note), with L_R above L_T "
    "(warning)",
)
def length_blind_reward(plan: PlannedRun) -> Advice | None:
    """Then L_R is the only pressure on length. At L_R = L_T that is the truncation reward under another name: what is cut
    counts as wrong. With a longer L_R nothing asks for shorter answers than that; such a run is a control."""
    if plan.reward.looks_at_length or plan.reward.cuts_at_target:
        return None
    found = f"reward.name = '{plan.config.reward.name}' with L_R = {plan.limit_tokens}, L_T = {plan.target_tokens}"
    settings = ("reward.name=truncation", "reward.parameters={}")
    if plan.limit_tokens == plan.target_tokens:
        return Advice("note", found, "Say what it is: the truncation reward.", settings)
    return Advice("warning", found, "Name a reward that looks at length, or keep this one for the control.", settings)


@rule(
    ["warning", "note"],
    basis="F2",
    fires="the reward prefers shorter answers even within half of L_T (ours): judged at no budget of at least L_R and 2 L_T "
    "(warning; ours), otherwise (note)",
)
def aggressive_reward(plan: PlannedRun) -> Advice | None:
    """In the paper such a reward (Kimi) wins at a budget of 2k and loses at 32k: at a small budget its price cannot be seen."""
    if not plan.reward.prefers_shorter:
        return None
    budgets, needed = plan.config.evaluate.budgets_tokens, max(plan.limit_tokens, 2 * plan.target_tokens)
    found = f"reward.name = '{plan.config.reward.name}', largest budget {budgets[-1]}"
    if budgets[-1] >= needed:
        return Advice("note", found, f"Compare with the base at {budgets[-1]} before it is called better.")
    settings = (f"evaluate.budgets_tokens={[*budgets, needed]}",)
    return Advice("warning", found, "Evaluate where thinking long would pay.", settings)


@rule(["warning"], basis="F7", fires="the reward moves L_T with the rollouts")
def adaptive_target(plan: PlannedRun) -> Advice | None:
    """The paper's adaptive target, the 90 % quantile of correct lengths, is better at 4k, equal or worse at 32k, and brings
    spikes of KL."""
    if not plan.reward.moves_target:
        return None
    remedy = "Prefer a fixed L_T; else record the KL (train.measure_kl = true) and judge at the largest budget."
    settings = ("reward.name=truncation", "reward.parameters={}")
    return Advice("warning", f"reward.name = '{plan.config.reward.name}'", remedy, settings)


@rule(
    ["note"],
    basis="prime-rl PR 3376",
    fires="in a group without a correct answer, the reward of the shortest is above that of the longest",
)
def short_failures_paid(plan: PlannedRun) -> Advice | None:
    """A length term that is not bound to success teaches to fail fast: where nothing is solved, being short is all there is to
    learn."""
    if not plan.reward.pays_short_failures:
        return None
    remedy = "Keep such groups rare: easy prompts, and watch.length_collapse on."
    return Advice("note", f"reward.name = '{plan.config.reward.name}'", remedy)


@rule(
    ["note"],
    basis="F2, hkust-nlp/Laser",
    fires="in a group without a correct answer, the reward of the longest is above that of the shortest",
)
def long_failures_paid(plan: PlannedRun) -> Advice | None:
    """Meant as room to explore. The published Laser-DE pays wrong answers only while no repetition is found in them; the
    paper's Laser-D has no such guard, and its Laser is U-shaped at 32k."""
    if not plan.reward.pays_long_failures:
        return None
    remedy = "Look at the longest wrong rollouts now and then, and at truncated_fraction."
    return Advice("note", f"reward.name = '{plan.config.reward.name}'", remedy)
