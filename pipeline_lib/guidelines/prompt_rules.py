"""Guidelines on the prompts: how hard they are for the model, how that was measured, and how clean they are."""

from pipeline_lib.config import PromptSource, RunConfig
from pipeline_lib.evaluation.missing_answers import settings_of
from pipeline_lib.guidelines.plan import PlannedRun
from pipeline_lib.guidelines.rule import Advice, rule

PAPER_PROFILE_ROLLOUTS = 8


@rule(
    ["error", "warning", "note"],
    basis="F3, guideline 1",
    fires="the filter keeps hard prompts alone (error); by the profile, more than half of what it keeps is hard (warning); "
    "some of it is, or may be where there is no profile (note)",
)
def hard_prompts(plan: PlannedRun) -> Advice | None:
    """In the paper, prompts that the model solves in at most half of 8 rollouts make training collapse: entropy spikes, length
    collapses, accuracy falls. Easy ones train stably and match or beat the full set, even on hard benchmarks."""
    if not plan.may_select_hard:
        return None
    found = f"filter.subset = '{plan.config.filter.subset}'"
    if plan.config.filter.subset == "band":
        found += f" ({plan.config.filter.min_pass_rate:g} to {plan.config.filter.max_pass_rate:g})"
    share = plan.selected.hard_share() if plan.selected else None
    if plan.selects_only_hard:
        return Advice("error", found, "Train on the easy prompts.", _easy(plan.config))
    if share == 0:
        return None
    if share is None:
        return Advice("note", found, "Keep the easy prompts alone.", _easy(plan.config))
    found += f"; {share:.0%} of the prompts it keeps are hard for this model"
    return Advice("warning" if share > 0.5 else "note", found, "Keep the easy prompts alone.", _easy(plan.config))


def _easy(config: RunConfig) -> tuple[str, ...]:
    whole_range = ("filter.min_pass_rate=0.0", "filter.max_pass_rate=1.0") if config.filter.subset == "band" else ()
    return ("filter.subset=easy", *whole_range)


@rule(["error"], basis="F3, guideline 1", fires="by the profile, the filter keeps no prompt")
def empty_selection(plan: PlannedRun) -> Advice | None:
    """There is nothing to train on: the filter stage will refuse to go on."""
    if plan.profile is None or (plan.selected and plan.selected.estimates):
        return None
    found = f"filter.subset = '{plan.config.filter.subset}' keeps none of {len(plan.profile.estimates)} profiled prompts"
    return Advice("error", found, "Take prompts that this model solves more often, or leave it more tokens to solve them.")


@rule(
    ["error", "warning"],
    basis="guideline 1, trl#5697",
    fires="by the profile, the first step rewards no rollout (error), or fewer than watch.reward_starvation_fraction (warning)",
)
def starved_reward(plan: PlannedRun) -> Advice | None:
    """Positive rewards must be dense. A limit that is too tight starves them silently: in the report named here, a default of
    256 tokens cut 97–99 % of the rollouts, and the reward was always 0."""
    share = plan.positive_share
    if share is None or share >= plan.config.watch.reward_starvation_fraction:
        return None
    found = f"reward.name = '{plan.config.reward.name}' at L_T = {plan.target_tokens}, L_R = {plan.limit_tokens} rewards {share:.1%} "
    return Advice(
        "error" if share == 0 else "warning",
        f"{found}of the profile's rollouts of the selected prompts",
        "Take easier prompts or more room; 'laconic preview' shows what each would change.",
    )


@rule(
    ["warning", "note"],
    basis="F10",
    fires="advantages are divided by the group's standard deviation while the filter keeps hard prompts alone (warning), or, "
    "by the profile, fewer than half of the rollouts are rewarded (note)",
)
def rare_positives(plan: PlannedRun) -> Advice | None:
    """The division makes a rare positive weigh more: in {1, 0, 0, 0} its advantage is larger than in {1, 1, 1, 0} (App. D),
    which is part of why hard prompts collapse. prime-rl and open-instruct only subtract the mean."""
    if plan.config.train.advantage != "grpo":
        return None
    found = f"train.advantage = 'grpo' with filter.subset = '{plan.config.filter.subset}'"
    remedy = "Prefer easier prompts or a longer L_T; 'mean' leaves the division out (a peers' choice, not tried in the paper)."
    if plan.selects_only_hard:
        return Advice("warning", found, remedy, ("train.advantage=mean",))
    share = plan.positive_share
    if share is None or share >= 0.5:
        return None
    return Advice("note", f"{found}, and {share:.0%} of the profile's rollouts rewarded", remedy, ("train.advantage=mean",))


@rule(
    ["warning", "note"],
    basis="F3",
    fires="pass rates are those recorded with the data (warning), or come from a file of rollouts (note)",
)
def foreign_profile(plan: PlannedRun) -> Advice | None:
    """Easy and hard are said of the model that is trained: the paper takes its pass rate over 8 rollouts. The rates that a data
    set carries belong to another model."""
    origin = plan.config.profile.origin
    if origin == "sampled":
        return None
    found = f"profile.origin = '{origin}'"
    if origin == "recorded":
        return Advice("warning", found, "Sample the base model.", ("profile.origin=sampled",))
    return Advice("note", found, "Make sure that the rollouts are the base model's, sampled as in training.")


@rule(["note"], basis="F3, protocol", fires="profile.num_rollouts below 8, the paper's number")
def few_profile_rollouts(plan: PlannedRun) -> Advice | None:
    """With few rollouts the pass rate is coarse, and prompts near 0.5 fall into the wrong class."""
    profile = plan.config.profile
    if profile.origin != "sampled" or profile.num_rollouts >= PAPER_PROFILE_ROLLOUTS:
        return None
    settings = (f"profile.num_rollouts={PAPER_PROFILE_ROLLOUTS}",)
    return Advice("note", f"profile.num_rollouts = {profile.num_rollouts}", "Draw 8 rollouts per prompt.", settings)


@rule(
    ["warning", "note"],
    basis="F3, trl#6789, trl#7269",
    fires="profile.top_p below 1 (warning), or profile.temperature other than train.temperature (note)",
)
def profile_sampling(plan: PlannedRun) -> Advice | None:
    """Training samples from the full distribution at train.temperature (there is no top_p to set there), so the pass rates
    must, too. Cutting the tail changes much: at top_p 0.8 the mean probability ratio to the full distribution is 0.896, and
    51.8 % of the tokens lie outside 0.9 to 1.1."""
    profile, temperature = plan.config.profile, plan.config.train.temperature
    if profile.origin != "sampled" or (profile.top_p == 1.0 and profile.temperature == temperature):
        return None
    settings = ("profile.top_p=1.0", f"profile.temperature={temperature}")
    if profile.top_p < 1.0:
        return Advice("warning", f"profile.top_p = {profile.top_p:g}", "Profile the distribution that is trained on.", settings)
    found = f"profile.temperature = {profile.temperature:g}, train.temperature = {temperature:g}"
    return Advice("note", found, "Profile at the temperature of training.", settings)


@rule(["note"], basis="F3, guideline 1", fires="profile.rollout_limit_tokens is not L_R")
def profile_limit(plan: PlannedRun) -> Advice | None:
    """With a larger limit a prompt counts as easy for answers that training cuts and gives nothing for; with a smaller one
    answers count as failed that training would reward."""
    limit = plan.config.profile.rollout_limit_tokens
    if plan.config.profile.origin != "sampled" or limit == plan.limit_tokens:
        return None
    found = f"profile.rollout_limit_tokens = {limit}, train.rollout_limit_tokens = {plan.limit_tokens}"
    remedy = "Profile at L_R, or judge the classes by what 'laconic preview' shows for L_R."
    return Advice("note", found, remedy, (f"profile.rollout_limit_tokens={plan.limit_tokens}",))


@rule(
    ["warning", "note"],
    basis="docs/cleaning.md",
    fires="cleaning or decontamination is off (warning), or one of its other rules (note); generated prompts need none",
)
def cleaning_off(plan: PlannedRun) -> Advice | None:
    """In the copy of DeepScaleR that is counted there it takes out 601 duplicates, 386 with contradicting answers, 422 that
    need a picture, and 34 that are problems of the benchmarks."""
    cleaning = plan.config.filter.cleaning
    names = ("enabled", "decontaminate", "duplicates", "conflicting_answers", "pictures")
    off = [name for name in names if not getattr(cleaning, name)]
    if plan.config.prompts.kind == "tiny" or not off:
        return None
    found = ", ".join(f"filter.cleaning.{name} = false" for name in off)
    settings = tuple(f"filter.cleaning.{name}=true" for name in off)
    return Advice("warning" if {"enabled", "decontaminate"} & set(off) else "note", found, "Switch it on.", settings)


@rule(
    ["warning"],
    basis="docs/cleaning.md",
    fires="the training prompts are drawn from a benchmark that is evaluated, and nothing takes its problems out",
)
def benchmark_in_training(plan: PlannedRun) -> Advice | None:
    """What is trained on cannot show how well the model does on problems it has not seen."""
    cleaning = plan.config.filter.cleaning
    if plan.config.prompts.kind != "tiny" and cleaning.enabled and cleaning.decontaminate:
        return None
    same = [
        benchmark.name for benchmark in plan.config.evaluate.benchmarks if _carrier(benchmark) == _carrier(plan.config.prompts)
    ]
    if not same:
        return None
    found = f"prompts and evaluate.benchmarks name the same source: {', '.join(same)}"
    return Advice("warning", found, "Train on another split, or keep decontamination on.")


def _carrier(source: PromptSource) -> tuple[object, ...]:
    if source.kind == "tiny":
        return ("tiny", source.family, source.split)
    if source.kind == "gym":
        return ("gym", *sorted(source.tasks), source.seed)
    return (source.kind, source.path, source.subset, source.split, source.data_files)


@rule(["error"], basis="docs/data.md", fires="the base model's tokenizer has no chat template, and none is configured")
def no_chat_template(plan: PlannedRun) -> Advice | None:
    """Base models that were never taught turns come without one, and then no prompt can be rendered."""
    if plan.has_chat_template is not False:
        return None
    remedy = "Give one as a Jinja file (chat_template = 'turns.jinja'), or take the plain style: Question: … Answer: …"
    return Advice("error", f"base_model = '{plan.config.base_model}' has no chat template", remedy, ("chat_template=plain",))


@rule(["warning"], basis="protocol", fires="mathematics is graded, but what follows the problem does not ask for \\boxed{}")
def no_boxed_request(plan: PlannedRun) -> Advice | None:
    """The grader reads the last box and the paper's suffix asks for one. A right answer without a box earns nothing."""
    silent = {
        key: source
        for key, source in plan.sources.items()
        if source.grader == "math" and source.answer_from == "boxed" and "\\boxed" not in source.user_suffix
    }
    if not silent:
        return None
    found = ", ".join(f"{key}.template = '{source.template}'" for key, source in silent.items() if source.suffix is None)
    found += ", ".join(f"{key}.suffix = {source.suffix!r}" for key, source in silent.items() if source.suffix is not None)
    settings = tuple(f"{key}.template=boxed" for key, source in silent.items() if source.suffix is None)
    return Advice("warning", found, "Ask for the box.", settings)


@rule(["warning"], basis="docs/grading.md", fires="by the profile, fewer than half of the finished responses have an answer")
def missing_answers(plan: PlannedRun) -> Advice | None:
    """What has no answer cannot be right: the reward then teaches where to put the answer, if it teaches anything."""
    missing = plan.profile.missing_answers if plan.profile else None
    if missing is None:
        return None
    found = missing.text(plan.config.prompts.answer_from)
    if missing.best is None:
        return Advice("warning", found, "Ask for the place, by suffix, system prompt or example turns ('laconic prompts').")
    keys = [key for key, source in plan.sources.items() if source.grader == plan.config.prompts.grader]
    given = settings_of(missing.best)
    settings = tuple(f"{key}.{name}={value}" for key in keys for name, value in given.items())
    return Advice("warning", found, "Look for the answer there, or ask for the place that is looked at.", settings)
