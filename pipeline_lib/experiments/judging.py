"""Whether the child runs of an experiment bear out its claims: differences seed by seed, their 95 % interval, the verdict.

One criterion for all claims: a paired t-interval over seeds (docs/experiments.md says why nothing else counts). A seed gives
both arms the same prompts in the same order, so differences are taken within seeds; what differs between seeds but not between
arms cancels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline_lib.experiments.specification import Claim

Outcome = Literal["shown", "in direction", "not shown", "contradicted", "not measured"]
Verdict = Literal["reproduced", "partly", "not reproduced", "not judged"]
MetricValues = Mapping[tuple[str, str], Mapping[int, float]]

CONFIDENCE = 0.95
# Accuracies are multiples of 1 / (prompts x samples): what differs by less than this differs by rounding only.
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds; `half_width` of its 95 % t-interval is None with a single seed."""

    mean: float
    half_width: float | None
    num_seeds: int

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends; everything is possible with a single seed."""
        half_width = math.inf if self.half_width is None else self.half_width
        return self.mean - half_width, self.mean + half_width


@dataclass(frozen=True, slots=True)
class Judgement:
    """What came of a claim: the difference arm - (other side + value) of each seed that has both, and what follows from them."""

    claim: Claim
    differences: Mapping[int, float]
    estimate: Estimate | None
    num_holding: int
    outcome: Outcome


def estimate_mean(values: Sequence[float]) -> Estimate | None:
    """Mean of one value per seed with Student's t-interval (n - 1 degrees of freedom); None without values."""
    if not values:
        return None
    count = len(values)
    if count == 1:
        return Estimate(float(values[0]), None, 1)
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    quantile = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2))
    half_width = quantile * float(np.std(values, ddof=1)) / math.sqrt(count)
    return Estimate(float(np.mean(values)), half_width, count)


def judge_claim(claim: Claim, values: MetricValues) -> Judgement:
    """Judge a claim by `values`: (arm, metric) -> seed -> value, a seed without a value being absent.

    shown: the whole interval of the mean difference is where the claim says (beyond 0 for < and >, within the margin for <=, >=
    and ~). in direction: its mean is, the interval is not. contradicted: the whole interval is elsewhere. not shown: the rest.
    """
    differences = _differences(claim, values)
    estimate = estimate_mean(list(differences.values()))
    num_holding = sum(_lies_in(difference, difference, claim) for difference in differences.values())
    return Judgement(claim, differences, estimate, num_holding, _outcome(claim, estimate))


def judge_finding(judgements: Sequence[Judgement]) -> Verdict:
    """reproduced: all claims are shown; partly: some are, or all that are measured are in direction; otherwise not reproduced."""
    outcomes = [judgement.outcome for judgement in judgements]
    measured = [outcome for outcome in outcomes if outcome != "not measured"]
    if not measured:
        return "not judged"
    if all(outcome == "shown" for outcome in outcomes):
        return "reproduced"
    if "shown" in measured or all(outcome == "in direction" for outcome in measured):
        return "partly"
    return "not reproduced"


def other_side(claim: Claim) -> tuple[str, str] | None:
    """Arm and metric that the claim's arm is compared with; None where that is a plain number.

    A `versus_metric` without `versus` is another metric of the same arm.
    """
    if claim.versus is None and claim.versus_metric is None:
        return None
    return claim.versus or claim.arm, claim.versus_metric or claim.metric


def _differences(claim: Claim, values: MetricValues) -> dict[int, float]:
    own = values.get((claim.arm, claim.metric), {})
    side = other_side(claim)
    other = dict.fromkeys(own, 0.0) if side is None else values.get(side, {})
    return {seed: own[seed] - other[seed] - claim.value for seed in sorted(own.keys() & other.keys())}


def _claimed_range(claim: Claim) -> tuple[float, float]:
    return {
        "<": (-math.inf, 0.0),
        ">": (0.0, math.inf),
        "<=": (-math.inf, claim.margin),
        ">=": (-claim.margin, math.inf),
        "~": (-claim.margin, claim.margin),
    }[claim.relation]


def _lies_in(low: float, high: float, claim: Claim) -> bool:
    """Whether low ... high lies in the claimed range, whose bounds belong to it except with < and >."""
    claimed_low, claimed_high = _claimed_range(claim)
    slack = -ROUNDING if claim.relation in ("<", ">") else ROUNDING
    return low >= claimed_low - slack and high <= claimed_high + slack


def _outcome(claim: Claim, estimate: Estimate | None) -> Outcome:
    if estimate is None:
        return "not measured"
    low, high = estimate.interval
    if _lies_in(low, high, claim):
        return "shown"
    claimed_low, claimed_high = _claimed_range(claim)
    if high < claimed_low - ROUNDING or low > claimed_high + ROUNDING:
        return "contradicted"
    return "in direction" if _lies_in(estimate.mean, estimate.mean, claim) else "not shown"
