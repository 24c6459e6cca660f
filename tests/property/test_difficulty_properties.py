"""Laws of the difficulty filter."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.config import FilterConfig
from pipeline_lib.records import DifficultyEstimate
from pipeline_lib.selection.difficulty import pass_rate_histogram, select_prompts

COUNTS = st.integers(1, 12).flatmap(lambda rollouts: st.tuples(st.just(rollouts), st.integers(0, rollouts)))


@settings(deadline=None)
@given(st.lists(COUNTS, min_size=1, max_size=5))
def test_every_prompt_is_accounted_for(counts):
    estimates = [
        DifficultyEstimate("run", f"p{place}", rollouts, correct, correct / rollouts, 10.0)
        for place, (rollouts, correct) in enumerate(counts)
    ]
    selections = select_prompts(estimates, FilterConfig(subset="all"))
    assert [s.prompt_id for s in selections] == [e.prompt_id for e in estimates]
    assert [s.subset == "easy" for s in selections] == [2 * e.num_correct > e.num_rollouts for e in estimates]
    assert sum(int(line.split()[-1]) for line in pass_rate_histogram(estimates)) == len(estimates)
