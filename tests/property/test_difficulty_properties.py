"""Laws of the difficulty filter."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.config import FilterConfig
from pipeline_lib.selection.difficulty import estimate_difficulty, pass_rate_histogram, select_prompts

ROWS = st.lists(st.tuples(st.sampled_from("abcde"), st.booleans(), st.integers(1, 50)), min_size=1, max_size=60)


@settings(deadline=None)
@given(ROWS)
def test_every_rollout_and_every_prompt_is_accounted_for(rows):
    estimates = estimate_difficulty("run", rows)
    assert sum(e.num_rollouts for e in estimates) == len(rows)
    assert sum(e.num_correct for e in estimates) == sum(correct for _, correct, _ in rows)
    selections = select_prompts(estimates, FilterConfig(subset="all"))
    assert [s.prompt_id for s in selections] == [e.prompt_id for e in estimates]
    assert [s.subset == "easy" for s in selections] == [2 * e.num_correct > e.num_rollouts for e in estimates]
    assert sum(int(line.split()[-1]) for line in pass_rate_histogram(estimates)) == len(estimates)
