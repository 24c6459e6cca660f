"""Claims judged by hand-made differences; Student's t from a printed table."""

import pytest

from pipeline_lib.experiments.judging import Judgement, MetricValues, Outcome, estimate_mean, judge_claim, judge_finding
from pipeline_lib.experiments.specification import Claim

# Two-sided 95 % quantiles of Student's t, as in any printed table, by degrees of freedom.
T_1, T_2, T_3 = 12.7062, 4.3027, 3.1824


def claim(relation: str, margin: float = 0.0, **keys: object) -> Claim:
    return Claim.model_validate(
        {"text": "x", "metric": "tokens", "arm": "a", "versus": "b", "relation": relation, "margin": margin, **keys}
    )


def values_of(*differences: float) -> MetricValues:
    """Arm b has 100, 200, ... by seed, arm a has that and the difference."""
    other = {seed: 100.0 * (seed + 1) for seed in range(len(differences))}
    own = {seed: other[seed] + difference for seed, difference in enumerate(differences)}
    return {("a", "tokens"): own, ("b", "tokens"): other}


@pytest.mark.parametrize(
    ("values", "mean", "half_width"),
    [
        ([1.0, 3.0], 2.0, T_1 * 2**0.5 / 2**0.5),  # s = sqrt 2
        ([1.0, 2.0, 3.0], 2.0, T_2 * 1.0 / 3**0.5),
        ([2.0, 4.0, 4.0, 6.0], 4.0, T_3 * (8 / 3) ** 0.5 / 2.0),
        ([5.0, 5.0, 5.0], 5.0, 0.0),
    ],
)
def test_interval_is_that_of_the_table(values: list[float], mean: float, half_width: float) -> None:
    estimate = estimate_mean(values)
    assert estimate is not None
    assert (estimate.mean, estimate.num_seeds) == (mean, len(values))
    assert estimate.half_width == pytest.approx(half_width, rel=1e-4)


def test_one_seed_has_no_interval_and_none_no_mean() -> None:
    estimate = estimate_mean([0.25])
    assert estimate is not None
    assert (estimate.mean, estimate.half_width, estimate.num_seeds) == (0.25, None, 1)
    assert estimate_mean([]) is None


# Differences 9, 10, 11: interval 10 ± 2.484; 1, 2, 3: 2 ± 2.484; -1, 0, 1: 0 ± 2.484.
@pytest.mark.parametrize(
    ("relation", "margin", "differences", "outcome", "num_holding"),
    [
        (">", 0.0, (9, 10, 11), "shown", 3),
        ("<", 0.0, (9, 10, 11), "contradicted", 0),
        (">", 0.0, (1, 2, 3), "in direction", 3),
        ("<", 0.0, (1, 2, 3), "not shown", 0),
        (">", 0.0, (-1, 0, 1), "not shown", 1),
        (">", 0.0, (7,), "in direction", 1),
        ("<", 0.0, (7,), "not shown", 0),
        (">=", 3.0, (-1, 0, 1), "shown", 3),
        (">=", 2.0, (-1, 0, 1), "in direction", 3),
        (">=", 2.0, (-4, -3, -2), "not shown", 1),
        (">=", 7.0, (-9, -10, -11), "contradicted", 0),
        ("<=", 5.0, (1, 2, 3), "shown", 3),
        ("<=", 4.0, (1, 2, 3), "in direction", 3),
        ("~", 3.0, (-1, 0, 1), "shown", 3),
        ("~", 3.0, (1, 2, 3), "in direction", 3),
        ("~", 3.0, (9, 10, 11), "contradicted", 0),
        ("~", 8.0, (9, 10, 11), "not shown", 0),
        ("<", 0.0, (0, 0, 0), "not shown", 0),
        ("<=", 0.0, (0, 0, 0), "shown", 3),
    ],
)
def test_outcomes(relation: str, margin: float, differences: tuple[float, ...], outcome: str, num_holding: int) -> None:
    judged = judge_claim(claim(relation, margin), values_of(*differences))
    assert (judged.outcome, judged.num_holding) == (outcome, num_holding)
    assert judged.differences == {seed: pytest.approx(difference) for seed, difference in enumerate(differences)}


def test_equal_accuracies_are_not_told_apart_by_rounding() -> None:
    # 0.1 + 0.2 is 4e-17 more than 0.3.
    values = {("a", "tokens"): dict.fromkeys(range(3), 0.1 + 0.2), ("b", "tokens"): dict.fromkeys(range(3), 0.3)}
    assert judge_claim(claim(">"), values).outcome == "not shown"
    assert judge_claim(claim("~"), values).outcome == "shown"


def test_only_seeds_that_both_sides_have_count() -> None:
    values = {("a", "tokens"): {0: 5.0, 1: 7.0, 3: 1.0}, ("b", "tokens"): {1: 4.0, 2: 9.0, 3: 0.5}}
    assert judge_claim(claim(">"), values).differences == {1: 3.0, 3: 0.5}
    missing = judge_claim(claim(">"), {("a", "tokens"): {0: 5.0}})
    assert (missing.outcome, missing.estimate, missing.num_holding) == ("not measured", None, 0)


def test_the_other_side_can_be_a_number_another_metric_or_both() -> None:
    values = {
        ("a", "tokens"): {0: 40.0, 1: 42.0},
        ("a", "base.tokens"): {0: 80.0, 1: 81.0},
        ("b", "tokens"): {0: 50.0, 1: 55.0},
        ("b", "base.tokens"): {0: 78.0, 1: 79.0},
    }
    number = judge_claim(claim("<", versus=None, value=45.0), values)
    assert number.differences == {0: -5.0, 1: -3.0}
    before = judge_claim(claim("<", versus=None, versus_metric="base.tokens", value=-10.0), values)
    assert before.differences == {0: -30.0, 1: -29.0}
    other_arm = judge_claim(claim("<", versus_metric="base.tokens"), values)
    assert other_arm.differences == {0: -38.0, 1: -37.0}
    shifted = judge_claim(claim("<", value=-5.0), values)
    assert shifted.differences == {0: -5.0, 1: -8.0}


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ([], "not judged"),
        (["not measured"], "not judged"),
        (["shown", "shown"], "reproduced"),
        (["shown", "in direction"], "partly"),
        (["shown", "contradicted"], "partly"),
        (["shown", "not measured"], "partly"),
        (["in direction", "in direction"], "partly"),
        (["in direction", "not measured"], "partly"),
        (["in direction", "not shown"], "not reproduced"),
        (["in direction", "contradicted"], "not reproduced"),
        (["not shown"], "not reproduced"),
    ],
)
def test_verdicts(outcomes: list[Outcome], verdict: str) -> None:
    assert judge_finding([Judgement(claim(">"), {}, None, 0, outcome) for outcome in outcomes]) == verdict
