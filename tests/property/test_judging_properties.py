"""Laws of judging claims."""

import math

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline_lib.experiments.judging import judge_claim
from pipeline_lib.experiments.specification import Claim

# Whole numbers, so that sums and differences are exact.
NUMBERS = st.integers(-50, 50).map(float)
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=6)
RELATIONS = st.sampled_from(["<", ">", "<=", ">=", "~"])
MARGINS = st.integers(0, 20).map(float)
MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "~": "~"}


def judged(relation, margin, pairs, value=0.0, seeds=None):
    claim = Claim(text="x", metric="m", arm="a", versus="b", relation=relation, margin=margin, value=value)
    seeds = seeds or range(len(pairs))
    own = {seed: pair[0] for seed, pair in zip(seeds, pairs, strict=True)}
    other = {seed: pair[1] for seed, pair in zip(seeds, pairs, strict=True)}
    return judge_claim(claim, {("a", "m"): own, ("b", "m"): other})


@settings(deadline=None)
@given(RELATIONS, MARGINS, PAIRS)
def test_exchanging_the_arms_and_turning_the_relation_changes_nothing(relation, margin, pairs):
    there = judged(relation, margin, pairs)
    back = judged(MIRRORED[relation], margin, [(right, left) for left, right in pairs])
    assert (there.outcome, there.num_holding) == (back.outcome, back.num_holding)


@settings(deadline=None)
@given(RELATIONS, MARGINS, PAIRS, st.lists(NUMBERS, min_size=6, max_size=6))
def test_what_a_seed_does_to_both_arms_cancels(relation, margin, pairs, effects):
    moved = [(left + effect, right + effect) for (left, right), effect in zip(pairs, effects, strict=False)]
    assert judged(relation, margin, moved) == judged(relation, margin, pairs)


@settings(deadline=None)
@given(RELATIONS, MARGINS, PAIRS, NUMBERS)
def test_a_value_moves_the_other_side(relation, margin, pairs, value):
    moved = [(left, right + value) for left, right in pairs]
    plain, shifted = judged(relation, margin, moved), judged(relation, margin, pairs, value)
    assert (plain.outcome, plain.differences, plain.estimate) == (shifted.outcome, shifted.differences, shifted.estimate)


@settings(deadline=None)
@given(MARGINS, PAIRS)
def test_stronger_claims_imply_weaker_ones(margin, pairs):
    if judged(">", margin, pairs).outcome == "shown":
        assert judged(">=", margin, pairs).outcome == "shown"
        assert judged("<", margin, pairs).outcome == "contradicted"
    both = {judged("<=", margin, pairs).outcome, judged(">=", margin, pairs).outcome}
    assert (judged("~", margin, pairs).outcome == "shown") == (both == {"shown"})


@settings(deadline=None)
@given(RELATIONS, MARGINS, PAIRS)
def test_the_counts_and_the_outcome_fit_each_other(relation, margin, pairs):
    result = judged(relation, margin, pairs)
    assert 0 <= result.num_holding <= len(result.differences) == len(pairs)
    low, high = result.estimate.interval
    assert low <= result.estimate.mean <= high
    # A mean of differences that all hold holds itself, and so does the other way round.
    if result.num_holding == len(pairs):
        assert result.outcome in ("shown", "in direction")
    if result.outcome == "shown":
        assert result.num_holding >= 1
        assert math.isfinite(low)


@settings(deadline=None)
@given(RELATIONS, MARGINS, PAIRS, st.randoms())
def test_the_order_and_numbers_of_the_seeds_do_not_matter(relation, margin, pairs, random):
    assume(len(pairs) > 1)
    seeds = random.sample(range(100), len(pairs))
    first, second = judged(relation, margin, pairs), judged(relation, margin, pairs, seeds=seeds)
    assert (first.outcome, first.num_holding) == (second.outcome, second.num_holding)
