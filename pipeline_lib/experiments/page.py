"""The page of a finding in Markdown: the paper's claim beside ours, figures, tables and the verdict.

The same rows give the same text: no date, no path of the machine.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline_lib.config.training import ALARM_KINDS
from pipeline_lib.experiments.foresight import foresee, foresight_section
from pipeline_lib.experiments.judging import (
    Judgement,
    MetricValues,
    Verdict,
    estimate_mean,
    judge_claim,
    judge_finding,
    other_side,
)
from pipeline_lib.experiments.metric_text import MetricText, describe_metric
from pipeline_lib.experiments.results import ExperimentResults
from pipeline_lib.experiments.setting_text import settings_table, setup_sentences, shown_name
from pipeline_lib.files.home import below
from pipeline_lib.files.markdown import one_line, table
from pipeline_lib.files.whole_files import write_whole
from pipeline_lib.report.finding import ArmSeries, finding_budgets, finding_dynamics, save_small_png
from pipeline_lib.report.summary import MINUS, MISSING

VERDICT_WORDS = {
    "reproduced": "Reproduced in this world",
    "partly": "Partly reproduced in this world",
    "not reproduced": "Not reproduced in this world",
    "not judged": "Not judged",
}
OUTCOMES = ("shown", "in direction", "not shown", "contradicted", "not measured")
# Text for those who do not see the picture, and the line below it.
FIGURE_TEXTS = {
    "dynamics": (
        "Training dynamics of every arm",
        "Training dynamics: mean over the seeds, with a band from the lowest to the highest seed; curves of more than 20 steps are "
        "moving averages, except on log scales. Accuracy counts right answers whatever their length.",
    ),
    "budgets": (
        "Accuracy of every arm by token budget",
        "Accuracy (Mean@k) after the last step, an answer counting when it is right and within the budget; seeds as above. Last "
        "panel: length and accuracy of every seed at the largest budget.",
    ),
}


def write_page(results: ExperimentResults, folder: Path) -> tuple[Path, Verdict, list[Path]]:
    """Write NAME.md and its figures into `folder` (made if needed); returns the page, the verdict and the figures."""
    folder.mkdir(parents=True, exist_ok=True)
    name, arms = results.experiment.name, arm_series(results)
    figures = {
        "dynamics": finding_dynamics(arms, results.experiment.panels),
        "budgets": finding_budgets(arms),
    }
    pictures = {}
    for what, figure in figures.items():
        path = below(folder, f"{name}-{what}.png")
        path.unlink(missing_ok=True)
        if figure is not None:
            pictures[what] = save_small_png(figure, path)
    judgements = judged_claims(results)
    verdict = judge_finding([judgement for judgement in judgements if not judgement.claim.is_ours])
    page = below(folder, f"{name}.md")
    names = {what: path.name for what, path in pictures.items()}
    write_whole(page, page_text(results, judgements, verdict, names))
    return page, verdict, list(pictures.values())


def judged_claims(results: ExperimentResults) -> list[Judgement]:
    """Every claim judged; one whose metric some seeds do not have is at most "not shown": those may be the ones against it."""
    num_seeds = len({child.seed for child in results.children})
    judgements = [judge_claim(claim, results.values()) for claim in results.experiment.claims]
    return [
        replace(judgement, outcome="not shown")
        if judgement.outcome in ("shown", "in direction") and len(judgement.differences) < num_seeds
        else judgement
        for judgement in judgements
    ]


def arm_series(results: ExperimentResults) -> list[ArmSeries]:
    """What the figures are drawn from: the arms that have a child run."""
    return [
        ArmSeries(
            label=arm.label,
            base_model=shown_name(children[0].config.base_model),
            target_tokens=children[0].config.reward.target_tokens,
            is_control=arm.is_control,
            curves=[child.curve for child in children],
            budgets=[child.budgets for child in children],
        )
        for arm in results.experiment.arms
        if (children := results.of_arm(arm.name))
    ]


def page_text(
    results: ExperimentResults, judgements: Sequence[Judgement], verdict: Verdict, pictures: Mapping[str, str]
) -> str:
    """The page; `pictures` are the file names of the figures that could be drawn."""
    experiment = results.experiment
    figures = [f"![{FIGURE_TEXTS[what][0]}]({name})\n\n*{FIGURE_TEXTS[what][1]}*" for what, name in pictures.items()]
    sections = [
        f"# {experiment.finding}: {experiment.title}",
        f"**{verdict_sentence(judgements, verdict, results)}**",
        *_incomplete(results),
        f"## What the paper says\n\n> {one_line(experiment.paper)}",
        _setting_section(results),
        "\n\n".join(["## What was seen", *(figures or ["No child run is recorded yet."])]),
        _metrics_section(results),
        _claims_section(results, judgements),
        _alarms_section(results),
    ]
    if experiment.foresight and (foresight := foresee(results, experiment.foresight)):
        sections.append(foresight_section(foresight))
    if experiment.finding == "F10":
        from pipeline_lib.experiments.advantage_table import advantage_section

        sections.append(advantage_section())
    if experiment.discussion.strip():
        sections.append(f"## Discussion\n\n{experiment.discussion.strip()}")
    sections.append(_commands_section(results))
    return "\n\n".join(section for section in sections if section) + "\n"


def verdict_sentence(judgements: Sequence[Judgement], verdict: Verdict, results: ExperimentResults) -> str:
    if not judgements:
        return f"{VERDICT_WORDS[verdict]}: this experiment makes no claim."
    judgements = [judgement for judgement in judgements if not judgement.claim.is_ours]
    counts = [(outcome, sum(judgement.outcome == outcome for judgement in judgements)) for outcome in OUTCOMES]
    parts = [f"{count} {outcome}" for outcome, count in counts if count]
    claims = "1 claim" if len(judgements) == 1 else f"{len(judgements)} claims"
    seeds = max((len(judgement.differences) for judgement in judgements), default=0)
    basis = "no seed yet" if seeds == 0 else "1 seed, which gives no interval" if seeds == 1 else f"{seeds} seeds"
    return f"{VERDICT_WORDS[verdict]}: of {claims}, {', '.join(parts)} ({basis})."


def _incomplete(results: ExperimentResults) -> list[str]:
    """What is to be said before anything else: child runs that are not there, and a control that is not."""
    notes = []
    if results.missing:
        by_arm: dict[str, list[int]] = {}
        for arm, seed in results.missing:
            by_arm.setdefault(arm, []).append(seed)
        total = len(results.experiment.arms) * len(results.seeds)
        listed = "; ".join(
            f"{arm} (seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))})" for arm, seeds in by_arm.items()
        )
        notes.append(f"Not complete: {len(results.missing)} of {total} child runs are missing: {listed}.")
    if not any(arm.is_control for arm in results.experiment.arms):
        notes.append("No arm of this experiment is a correctness-only control.")
    return notes


def _setting_section(results: ExperimentResults) -> str:
    text = results.experiment.setting.strip()
    return "\n\n".join(["## Setting", *([text] if text else []), settings_table(results.experiment), *setup_sentences(results)])


def _metrics_section(results: ExperimentResults) -> str:
    """Metric × arm: mean over seeds ± half the width of its 95 % interval; the base's value where all arms share it."""
    if not results.children:
        return ""
    values, arms = results.values(), [arm for arm in results.experiment.arms if results.of_arm(arm.name)]
    metrics = results.experiment.metrics or default_metrics(results)
    with_base = len({child.config.base_model for child in results.children}) == 1
    header = ["metric", *(["before RL"] if with_base else []), *(arm.label for arm in arms)]
    rows = []
    for metric in metrics:
        text = _described(metric)
        unit = f", {text.unit}" if text.unit else ""
        cells = [f"{text.words}{unit} `{metric}`"]
        if with_base:
            cells.append(_estimate_cell(_base_values(metric, values, [arm.name for arm in arms]), text))
        cells += [_estimate_cell(values.get((arm.name, metric), {}), text, len(results.of_arm(arm.name))) for arm in arms]
        rows.append(cells)
    counts = {arm.label: len(results.of_arm(arm.name)) for arm in arms}
    usual = statistics.mode(counts.values())
    others = "".join(f", {label}: {count}" for label, count in counts.items() if count != usual)
    seeds = f"n = {usual}{others}"
    note = (
        f"Mean over seeds ± half the width of its 95 % interval (Student's t; {seeds}). {MISSING}: not defined; a cell "
        "has an n of its own where not every seed has a value."
    )
    return "\n\n".join(["### Numbers", table(header, rows), note])


def default_metrics(results: ExperimentResults) -> list[str]:
    """What is shown where the experiment names no metrics: accuracy at every budget, length, entropy."""
    budgets = results.children[0].config.evaluate.budgets_tokens
    return [*(f"accuracy@{budget}" for budget in budgets), "tokens", "entropy.max", "entropy.last", "positive.last"]


def _base_values(metric: str, values: MetricValues, arms: Sequence[str]) -> dict[int, float]:
    """By seed, the metric of the model before RL, which all arms share."""
    benchmark, _, rest = metric.rpartition(".")
    name = f"{benchmark}.base.{rest}" if benchmark else f"base.{rest}"
    merged: dict[int, float] = {}
    for arm in arms:
        merged |= values.get((arm, name), {})
    return merged


def _estimate_cell(by_seed: Mapping[int, float], text: MetricText, num_seeds: int | None = None) -> str:
    """Mean ± half-width, with n where it is not `num_seeds`."""
    estimate = estimate_mean(list(by_seed.values()))
    if estimate is None:
        return MISSING
    few = "" if num_seeds in (None, estimate.num_seeds) else f" (n = {estimate.num_seeds})"
    spread = "" if estimate.half_width is None else f" ± {text.number(estimate.half_width)}"
    return f"{text.number(estimate.mean)}{spread}{few}"


def _claims_section(results: ExperimentResults, judgements: Sequence[Judgement]) -> str:
    if not judgements:
        return ""
    rows = [
        [
            judgement.claim.text + (" (ours, not in the verdict)" if judgement.claim.is_ours else ""),
            _measured_text(judgement, results),
            _difference_text(judgement),
            f"{judgement.num_holding} of {len(judgement.differences)}",
            f"**{judgement.outcome}**",
        ]
        for judgement in judgements
    ]
    note = (
        "The difference is taken seed by seed; its 95 % interval is Student's t over seeds. *shown*: the whole interval lies where "
        "the claim says; *in direction*: its mean does; *contradicted*: the whole interval lies elsewhere; *not shown*: the rest."
    )
    header = ["claim", "here", "difference [95 % interval]", "seeds that hold", "outcome"]
    return "\n\n".join(["## The claims, one by one", table(header, rows), note])


def _measured_text(judgement: Judgement, results: ExperimentResults) -> str:
    """Both sides of a claim with their means over the seeds that have both."""
    claim, text, values = judgement.claim, _described(judgement.claim.metric), results.values()
    labels = {arm.name: arm.label for arm in results.experiment.arms}

    def mean(arm: str, metric: str) -> str:
        own = [values[arm, metric][seed] for seed in judgement.differences]
        return text.number(statistics.fmean(own)) if own else MISSING

    side = other_side(claim)
    right = text.number(claim.value)
    if side is not None:
        other = _described(side[1])
        name = labels[side[0]] if side[1] == claim.metric else f"{labels[side[0]]} ({other.words})"
        right = f"{name} {mean(*side)}"
        if claim.value:
            right += f" {'+' if claim.value > 0 else MINUS} {text.number(abs(claim.value))}"
    margin = f" (margin {text.number(claim.margin)})" if claim.margin else ""
    unit = f" {text.unit}" if text.unit else ""
    relation = {"<=": "≤", ">=": "≥", "~": "≈"}.get(claim.relation, claim.relation)
    return f"{text.words}: {labels[claim.arm]} {mean(claim.arm, claim.metric)} {relation} {right}{unit}{margin}"


def _difference_text(judgement: Judgement) -> str:
    if judgement.estimate is None:
        return MISSING
    text = _described(judgement.claim.metric)
    mean = text.number(judgement.estimate.mean, signed=True)
    unit = f" {text.difference_unit}" if text.difference_unit else ""
    if judgement.estimate.half_width is None:
        return f"{mean}{unit}"
    low, high = (text.number(end, signed=True) for end in judgement.estimate.interval)
    return f"{mean} [{low}, {high}]{unit}"


def _alarms_section(results: ExperimentResults) -> str:
    """Kind × arm: in how many child runs an alarm was raised, and at which step first (median over those runs)."""
    if not results.children:
        return ""
    arms = [arm for arm in results.experiment.arms if results.of_arm(arm.name)]
    rows = []
    for kind in ALARM_KINDS:
        cells = []
        for arm in arms:
            children = results.of_arm(arm.name)
            steps = [[row["step"] for row in child.alarms if row["kind"] == kind] for child in children]
            first = [min(own) for own in steps if own]
            raised = f"{len(first)} of {len(children)}, step {statistics.median_low(first)}" if first else ""
            cells.append(raised)
        rows.append([kind.replace("_", " "), *cells])
    if not any(cell for row in rows for cell in row[1:]):
        return "## Alarms\n\nNo child run raised an alarm."
    note = "Child runs in which the watch raised the alarm, and the step at which it first did (median)."
    return "\n\n".join(["## Alarms", table(["alarm", *(arm.label for arm in arms)], rows), note])


def _commands_section(results: ExperimentResults) -> str:
    name = results.experiment.name
    query = (
        "select arm, metric, avg(value), stddev(value), count(value) from experiment_metrics "
        f"where experiment = '{name}' group by arm, metric order by metric, arm"
    )
    return (
        "## Run it yourself\n\n```bash\n"
        f"laconic experiment {name} --seeds {len(results.experiment.seeds)}\n"
        f'laconic sql "{query}"\n```\n\n'
        "`docs/experiments.md` lists the metrics and says how claims are judged."
    )


def _described(metric: str) -> MetricText:
    return describe_metric(metric) or MetricText(metric, "", 1.0, 3)
