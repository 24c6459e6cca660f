"""What `laconic preview` would have said before an experiment was run, against how its arms turned out: a rank correlation.

The preview's score of an arm is computed from the profile rollouts of its own child runs, which are of the base model; nothing of
the training goes into it.
"""

import math
from dataclasses import dataclass

from pipeline_lib.experiments.judging import estimate_mean
from pipeline_lib.experiments.metric_text import describe_metric
from pipeline_lib.experiments.results import ExperimentResults
from pipeline_lib.files.markdown import table
from pipeline_lib.preview.comparison import configured_first_step
from pipeline_lib.preview.outcomes import NothingToPreviewError, ProfileOutcomes, stored_outcomes
from pipeline_lib.runs.run import Run
from pipeline_lib.stages.profile import profile_fingerprint
from pipeline_lib.store.database import Store


@dataclass(frozen=True, slots=True)
class ForeseenArm:
    """Mean over seeds of the preview's score of an arm and of the metric that it turned out with."""

    label: str
    score: float
    outcome: float


@dataclass(frozen=True, slots=True)
class Foresight:
    """The arms by falling score, Spearman's rank correlation of score and outcome, and the metric that is the outcome."""

    metric: str
    arms: tuple[ForeseenArm, ...]
    rank_correlation: float


def foresee(results: ExperimentResults, metric: str) -> Foresight | None:
    """Scores and outcomes of the arms, the control aside; None with fewer than three arms or without profile rollouts."""
    profiles: dict[str, ProfileOutcomes] = {}  # the arms of a seed share one
    scores: dict[str, list[float]] = {}
    for child in results.children:
        if child.arm.is_control:
            continue
        run = Run.of(child.config)
        key = profile_fingerprint(run.config, run.base.digest)
        try:
            outcomes = (
                profiles[key] if key in profiles else profiles.setdefault(key, stored_outcomes(Store(run.home), run, key))
            )
        except NothingToPreviewError:
            return None
        scores.setdefault(child.arm.name, []).append(configured_first_step(child.config, outcomes).score)
    values = results.values()
    arms = []
    for arm in results.experiment.arms:
        outcome = estimate_mean(list(values.get((arm.name, metric), {}).values()))
        score = estimate_mean(scores.get(arm.name, []))
        if outcome and score:
            arms.append(ForeseenArm(arm.label, score.mean, outcome.mean))
    if len(arms) < 3:
        return None
    arms.sort(key=lambda arm: -arm.score)
    return Foresight(metric, tuple(arms), rank_correlation([arm.score for arm in arms], [arm.outcome for arm in arms]))


def foresight_section(foresight: Foresight) -> str:
    """The section of the page: the arms by falling score of the preview, beside what they turned out with."""
    text = describe_metric(foresight.metric)
    assert text, f"{foresight.metric} is no metric of a child run"
    outcomes = sorted((arm.outcome for arm in foresight.arms), reverse=True)
    rows = [
        [arm.label, f"{arm.score:.0f}", str(rank), text.number(arm.outcome), str(outcomes.index(arm.outcome) + 1)]
        for rank, arm in enumerate(foresight.arms, start=1)
    ]
    columns = ["arm", "score before training", "rank", f"{text.words} ({text.unit})", "rank"]
    return (
        "## What the preview said beforehand\n\n"
        "The score of `laconic preview` for each arm, from the profile of the base model alone, and how the arm turned out: "
        f"Spearman's rank correlation is **{foresight.rank_correlation:.2f}** over {len(rows)} arms (means over the seeds; "
        f"by chance a perfect order has probability 1 in {math.factorial(len(rows))}).\n\n" + table(columns, rows)
    )


def rank_correlation(first: list[float], second: list[float]) -> float:
    """Spearman's correlation; 0 where one side does not vary."""
    from scipy.stats import spearmanr  # type: ignore[import-untyped]

    return 0.0 if len(set(first)) == 1 or len(set(second)) == 1 else float(spearmanr(first, second).statistic)
