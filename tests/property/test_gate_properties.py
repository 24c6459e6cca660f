"""Laws of the gate."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline_lib.config.retraining import GateConfig
from pipeline_lib.evaluation.gate import judge_challenger
from pipeline_lib.records import Rollout

RULES = GateConfig(min_prompts=1, resamples=60)
BUDGETS = (20, 60, 100)
ANSWER = st.tuples(st.integers(1, 120), st.booleans())
PAIRS = st.integers(1, 3).flatmap(
    lambda samples: st.lists(
        st.tuples(*(st.lists(ANSWER, min_size=samples, max_size=samples) for _ in range(2))), min_size=1, max_size=8
    )
)


def rollouts(groups):
    return [
        Rollout("run", "evaluate", 0, "m", "b", f"p{prompt}", sample, min(tokens, 100), "stop", None, right, "", "")
        for prompt, group in enumerate(groups)
        for sample, (tokens, right) in enumerate(group)
    ]


def judge(champion, challenger, rules=RULES):
    return judge_challenger({"b": champion}, {"b": challenger}, BUDGETS, rules, seed=3)


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_a_model_is_no_gain_over_itself(pairs):
    same = rollouts([before for before, _ in pairs])
    verdict = judge(same, same)
    assert verdict.cause == "no_gain"
    assert all(each.difference.value == each.difference.low == each.difference.high == 0 for each in verdict.comparisons)


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_swapped_sides_flip_the_signs(pairs):
    before, after = rollouts([pair[0] for pair in pairs]), rollouts([pair[1] for pair in pairs])
    one, other = judge(before, after), judge(after, before)
    for forth, back in zip(one.comparisons, other.comparisons, strict=True):
        assert (forth.champion, forth.challenger) == (back.challenger, back.champion)
        assert (forth.difference.value, forth.difference.low) == pytest.approx((-back.difference.value, -back.difference.high))
    assert (one.tokens.value, one.tokens.low, one.tokens.high) == pytest.approx(
        (-other.tokens.value, -other.tokens.high, -other.tokens.low)
    )
    assert (one.accuracy.value, one.accuracy.low) == pytest.approx((-other.accuracy.value, -other.accuracy.high))
    assert not (one.cause == "shorter" and other.cause == "shorter")


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.integers(0, 1000))
def test_the_order_of_rollouts_changes_nothing(pairs, seed):
    before, after = rollouts([pair[0] for pair in pairs]), rollouts([pair[1] for pair in pairs])
    ordered = judge(before, after)
    draws = random.Random(seed)
    assert judge(draws.sample(before, len(before)), draws.sample(after, len(after))) == ordered


WRONG = [(1, False)] * 3
LOST_AND_WON = [
    (WRONG, WRONG),
    ([(1, False), (1, False), (2, False)], [(1, False), (1, False), (1, True)]),
    ([(1, False), (1, False), (2, True)], WRONG),
]


@settings(max_examples=60, deadline=None)
@example(LOST_AND_WON, 0.0, 5e-324)  # no number of prompts would tell
@given(PAIRS, st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_wider_margin_refuses_nothing_that_a_narrower_one_lets_pass(pairs, one, other):
    before, after = rollouts([pair[0] for pair in pairs]), rollouts([pair[1] for pair in pairs])
    narrow, wide = (
        judge(before, after, RULES.model_copy(update={"accuracy_margin": margin})) for margin in sorted((one, other))
    )
    assert wide.promoted or not narrow.promoted
