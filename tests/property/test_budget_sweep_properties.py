"""Laws of the budget sweep."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.evaluation.budget_sweep import pass_at_k, score_budgets
from pipeline_lib.records import Rollout

OUTCOME = st.tuples(st.integers(1, 100), st.booleans(), st.sampled_from(["stop", "length"]))


@st.composite
def benchmark_rollouts(draw):
    num_prompts, num_samples = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    rollouts = []
    for prompt in range(num_prompts):
        for sample in range(num_samples):
            num_tokens, correct, finish_reason = draw(OUTCOME)
            row = ("run", "evaluate", 0, "base", "b", f"p{prompt}", sample, num_tokens, finish_reason, None, correct, "", "")
            rollouts.append(Rollout(*row))
    return rollouts


@settings(max_examples=60, deadline=None)
@given(benchmark_rollouts(), st.lists(st.integers(1, 110), min_size=2, max_size=6, unique=True).map(sorted))
def test_a_larger_budget_never_scores_lower(rollouts, budgets):
    points = score_budgets(rollouts, budgets, 20, 0, run_id="run", model="base", step=0, benchmark="b")
    for small, large in pairwise(points):
        assert small.mean_at_k <= large.mean_at_k and small.pass_at_k <= large.pass_at_k
        assert small.ci_low <= large.ci_low and small.ci_high <= large.ci_high
        assert small.mean_tokens <= large.mean_tokens
        assert small.truncated_fraction >= large.truncated_fraction
    for point in points:
        assert 0 <= point.mean_at_k <= point.pass_at_k <= 1
        assert point.mean_tokens <= point.budget_tokens
        assert point.mean_at_k + point.truncated_fraction <= 1 + 1e-9


@settings(deadline=None)
@given(st.integers(1, 40), st.data())
def test_pass_at_k_rises_with_k_and_with_correct_samples(num_samples, data):
    num_correct = data.draw(st.integers(0, num_samples))
    k = data.draw(st.integers(1, num_samples))
    value = pass_at_k(num_samples, num_correct, k)
    assert 0 <= value <= 1
    if k < num_samples:
        assert value <= pass_at_k(num_samples, num_correct, k + 1) + 1e-12
    if num_correct < num_samples:
        assert value <= pass_at_k(num_samples, num_correct + 1, k) + 1e-12
    assert abs(pass_at_k(num_samples, num_correct, 1) - num_correct / num_samples) < 1e-12
