"""Guidelines on the rollouts that stay out of the loss: the strategies of the paper's Table 1, and overlong filtering."""

from pipeline_lib.guidelines.plan import PlannedRun
from pipeline_lib.guidelines.rule import Advice, rule


@rule(
    ["error"],
    basis="F5, guideline 3",
    fires="train.negative_rollouts = '-I', or '-L&C-S&I' with L_R = L_T, where no rollout is longer than L_T",
)
def masks_all_incorrect(plan: PlannedRun) -> Advice | None:
    """With every incorrect rollout out of the loss "short" becomes "correct": in the paper entropy explodes after about 400
    steps, length collapses and reasoning is abandoned."""
    strategy = plan.config.train.negative_rollouts
    if strategy != "-I" and not (strategy == "-L&C-S&I" and plan.limit_tokens == plan.target_tokens):
        return None
    found = f"train.negative_rollouts = '{strategy}' with L_R = {plan.limit_tokens}, L_T = {plan.target_tokens}"
    return Advice("error", found, "Keep incorrect rollouts in the loss.", ("train.negative_rollouts=vanilla",))


@rule(["error"], basis="F5, guideline 3", fires="train.negative_rollouts = '-L&C-S&I' with L_R above L_T")
def masks_short_incorrect(plan: PlannedRun) -> Advice | None:
    """The same trap as masking all incorrect rollouts: among the short ones nothing is wrong any more, so short is always
    right."""
    if plan.config.train.negative_rollouts != "-L&C-S&I" or plan.limit_tokens == plan.target_tokens:
        return None
    found = "train.negative_rollouts = '-L&C-S&I'"
    return Advice("error", found, "Keep short incorrect rollouts in the loss.", ("train.negative_rollouts=vanilla",))


@rule(["warning"], basis="F5", fires="train.negative_rollouts = '-L&C-L&I' with L_R above L_T")
def masks_long_incorrect(plan: PlannedRun) -> Advice | None:
    """Nothing that is too long is ever punished: in the paper, after about 200 steps the model learns to emit overlong, almost
    always wrong outputs."""
    if plan.config.train.negative_rollouts != "-L&C-L&I" or plan.limit_tokens == plan.target_tokens:
        return None
    found = "train.negative_rollouts = '-L&C-L&I'"
    return Advice("warning", found, "Keep long incorrect rollouts in the loss.", ("train.negative_rollouts=vanilla",))


@rule(["note"], basis="F5", fires="train.negative_rollouts = '-L&C' with L_R above L_T")
def masks_long_correct(plan: PlannedRun) -> Advice | None:
    """A trade-off: longer outputs and better accuracy than with all rollouts in the loss. L_R = L_T was better still."""
    if plan.config.train.negative_rollouts != "-L&C" or plan.limit_tokens == plan.target_tokens:
        return None
    settings = ("train.negative_rollouts=vanilla", *plan.length_settings(plan.target_tokens, plan.target_tokens))
    return Advice("note", "train.negative_rollouts = '-L&C'", "Compare with L_R = L_T.", settings)


@rule(["note"], basis="F5", fires="train.negative_rollouts masks long rollouts, but L_R = L_T, so that none is longer than L_T")
def mask_without_effect(plan: PlannedRun) -> Advice | None:
    """A rollout that is cut at L_R = L_T has exactly L_T tokens and counts as short: the strategy changes nothing."""
    strategy = plan.config.train.negative_rollouts
    if strategy not in ("-L&C", "-L&C-L&I") or plan.limit_tokens != plan.target_tokens or plan.reward.moves_target:
        return None
    found = f"train.negative_rollouts = '{strategy}' with L_R = L_T = {plan.target_tokens}"
    return Advice("note", found, "Leave it out.", ("train.negative_rollouts=vanilla",))


@rule(
    ["error", "warning"],
    basis="F5",
    fires="train.overlong_filtering with a reward that leaves all pressure on length to L_R (error), or with another one "
    "(warning)",
)
def overlong_filtering(plan: PlannedRun) -> Advice | None:
    """Rollouts that were cut are the long negatives. Out of the loss, nothing speaks against them: with '-L&C-L&I', which masks
    long negatives, too, the paper's model learned to emit overlong, almost always wrong outputs."""
    if not plan.config.train.overlong_filtering:
        return None
    found = f"train.overlong_filtering = true, reward.name = '{plan.config.reward.name}', L_R = {plan.limit_tokens}"
    settings = ("train.overlong_filtering=false",)
    return Advice("warning" if plan.reward.looks_at_length else "error", found, "Let them count as wrong.", settings)
