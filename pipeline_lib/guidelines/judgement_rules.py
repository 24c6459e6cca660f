"""Guidelines on how a run is judged: budgets, samples, benchmarks, the control, held-out prompts, the watch."""

from pipeline_lib.config import PromptSource
from pipeline_lib.config.training import ALARM_KINDS
from pipeline_lib.guidelines.plan import PlannedRun
from pipeline_lib.guidelines.rule import Advice, Severity, rule

PAPER_SAMPLES = 8
FEW_SAMPLES = 4
NEAR_FACTOR = 2


@rule(["warning"], basis="F2, guideline 3", fires="evaluate.budgets_tokens holds one budget")
def single_budget(plan: PlannedRun) -> Advice | None:
    """Which reward looks best depends on the budget: in the paper Kimi wins at 2k and loses at 32k. Judging at one budget
    misleads. More budgets cost nothing: one generation at the largest is scored at all."""
    budgets = plan.config.evaluate.budgets_tokens
    if len(budgets) > 1:
        return None
    settings = (f"evaluate.budgets_tokens={_budgets_around(plan)}",)
    return Advice("warning", f"evaluate.budgets_tokens = {list(budgets)}", "Score at budgets around L_T and above.", settings)


def _budgets_around(plan: PlannedRun) -> list[int]:
    """Half, once, twice, four and eight times L_T, as in the paper's 2k to 32k around 4k, with what is there and L_R."""
    target = plan.target_tokens
    steps = [max(1, target // 2), target, 2 * target, 4 * target, 8 * target, plan.limit_tokens]
    return sorted({*steps, *plan.config.evaluate.budgets_tokens})


@rule(["warning", "note"], basis="F2, guideline 3", fires="the largest budget is not above L_T (warning), or below L_R (note)")
def no_budget_above_target(plan: PlannedRun) -> Advice | None:
    """Aggressive shortening pays at small budgets and costs at large ones. A sweep that ends at the target cannot show what was
    given up."""
    largest = plan.config.evaluate.budgets_tokens[-1]
    if largest > plan.target_tokens and largest >= plan.limit_tokens:
        return None
    found = f"largest budget {largest}, reward.target_tokens = {plan.target_tokens}, train.rollout_limit_tokens = {plan.limit_tokens}"
    settings = (f"evaluate.budgets_tokens={_budgets_around(plan)}",)
    is_warning = largest <= plan.target_tokens
    return Advice("warning" if is_warning else "note", found, "Let the sweep go well beyond L_T.", settings)


@rule(["note"], basis="F2", fires="no budget between half and twice L_T (ours)")
def no_budget_near_target(plan: PlannedRun) -> Advice | None:
    """What the reward asks for is an answer within L_T; a sweep without a budget near it does not show whether it was learned.
    The paper's budgets double from half of L_T (4k) to eight times L_T."""
    budgets, target = plan.config.evaluate.budgets_tokens, plan.target_tokens
    if any(target <= NEAR_FACTOR * budget and budget <= NEAR_FACTOR * target for budget in budgets):
        return None
    found = f"evaluate.budgets_tokens = {list(budgets)}, reward.target_tokens = {target}"
    return Advice("note", found, "Add L_T itself.", (f"evaluate.budgets_tokens={sorted({*budgets, target})}",))


@rule(
    ["warning", "note"],
    basis="protocol, lighteval PR 661",
    fires="evaluate.num_samples below 4 (warning; ours), or below 8, the paper's number (note)",
)
def few_samples(plan: PlannedRun) -> Advice | None:
    """On small benchmarks the intervals are wider than the effects: lighteval chose 16 samples for AIME and still sees about 1
    point from run to run. With one sample Pass@k is Mean@k."""
    number = plan.config.evaluate.num_samples
    if number >= PAPER_SAMPLES:
        return None
    settings = (f"evaluate.num_samples={PAPER_SAMPLES}",)
    severity: Severity = "warning" if number < FEW_SAMPLES else "note"
    return Advice(severity, f"evaluate.num_samples = {number}", "Draw 8 samples per problem.", settings)


@rule(
    ["warning", "note"],
    basis="F8",
    fires="one benchmark only (warning), or none of another domain (tiny world: family) than the training prompts (note)",
)
def one_domain(plan: PlannedRun) -> Advice | None:
    """The learned length bias carries over: trained on mathematics, the paper's models answer shorter on code and at other
    difficulties, too. Whether that is still right there, only a benchmark of another kind shows."""
    benchmarks = plan.config.evaluate.benchmarks
    names = ", ".join(benchmark.name for benchmark in benchmarks)
    if len(benchmarks) == 1:
        return Advice(
            "warning", f"evaluate.benchmarks = {names}", "Add a benchmark of another difficulty, and one of another domain."
        )
    if any(_kind(benchmark) != _kind(plan.config.prompts) for benchmark in benchmarks):
        return None
    found = f"evaluate.benchmarks = {names}, all of domain '{plan.config.prompts.domain}' like the training prompts"
    return Advice("note", found, "Add a benchmark of another domain, such as livecodebench.")


def _kind(source: PromptSource) -> tuple[str, ...]:
    if source.kind == "gym":
        return ("gym", *sorted(source.tasks))
    return (source.domain, source.family) if source.kind == "tiny" else (source.domain,)


@rule(["note"], basis="README", fires="control.enabled is false")
def no_control(plan: PlannedRun) -> Advice | None:
    """Training on correctness alone changes accuracy, too: the control of the demo becomes more accurate without getting
    shorter. Without that comparison a change cannot be credited to the length reward."""
    control = plan.config.control
    if control.enabled:
        return None
    room = max(plan.limit_tokens, plan.config.profile.rollout_limit_tokens)
    limit = room if room > plan.target_tokens else 2 * plan.target_tokens
    settings = ("control.enabled=true", f"control.rollout_limit_tokens={limit}")
    return Advice("note", "control.enabled = false", "Train the control once a base model and set of prompts.", settings)


@rule(["warning"], basis="F3, F6, verl#3792", fires="there is no section validation")
def no_validation(plan: PlannedRun) -> Advice | None:
    """Collapse and rebound come late. Without held-out prompts the last checkpoint counts as the best, whatever it has
    become."""
    if plan.config.validation is not None:
        return None
    remedy = "Add a [validation] section with a source that is neither trained on nor evaluated."
    return Advice("warning", "no validation", remedy)


@rule(
    ["warning", "note"], basis="F3, F5, F6, guideline 4", fires="all alarms of the watch are ignored (warning), or some (note)"
)
def watch_ignored(plan: PlannedRun) -> Advice | None:
    """The known failures announce themselves: entropy spikes and length collapses with hard prompts or masked negatives, length
    rebounds with stale rollouts."""
    ignored = [kind for kind in ALARM_KINDS if plan.config.watch.action(kind) == "ignore"]
    if not ignored:
        return None
    found = ", ".join(f"watch.{kind} = 'ignore'" for kind in ignored)
    settings = tuple(f"watch.{kind}=warn" for kind in ignored)
    return Advice("warning" if len(ignored) == len(ALARM_KINDS) else "note", found, "Let them warn.", settings)


@rule(["warning"], basis="F3, F6", fires="an alarm rolls back, and there is no section validation")
def blind_roll_back(plan: PlannedRun) -> Advice | None:
    """Rolling back restores the best checkpoint. Without held-out prompts that is the newest one, which may have collapsed
    already."""
    kinds = [kind for kind in ALARM_KINDS if plan.config.watch.action(kind) == "roll_back"]
    if not kinds or plan.config.validation is not None:
        return None
    found = ", ".join(f"watch.{kind} = 'roll_back'" for kind in kinds) + ", no validation"
    settings = tuple(f"watch.{kind}=stop" for kind in kinds)
    return Advice("warning", found, "Add a [validation] section, or stop instead.", settings)
