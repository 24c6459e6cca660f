"""Laws that the rewards obey on any group."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.config import RewardConfig
from pipeline_lib.rewards import make_reward

GROUPS = st.lists(st.tuples(st.integers(1, 100), st.booleans()), min_size=1, max_size=24)


@settings(deadline=None)
@given(GROUPS, st.integers(1, 100))
def test_truncation_pays_exactly_for_correct_and_short(group, target_tokens):
    lengths_G, correct_G = zip(*group, strict=True)
    rewards_G = make_reward(RewardConfig(name="truncation", target_tokens=target_tokens))(lengths_G, correct_G)
    assert rewards_G == [1.0 if correct and length <= target_tokens else 0.0 for length, correct in group]


@settings(deadline=None)
@given(GROUPS, st.integers(1, 100), st.integers(0, 50))
def test_a_larger_target_never_lowers_the_truncation_reward(group, target_tokens, increase):
    lengths_G, correct_G = zip(*group, strict=True)
    tight = make_reward(RewardConfig(name="truncation", target_tokens=target_tokens))(lengths_G, correct_G)
    loose = make_reward(RewardConfig(name="truncation", target_tokens=target_tokens + increase))(lengths_G, correct_G)
    vanilla = make_reward(RewardConfig(name="vanilla"))(lengths_G, correct_G)
    assert all(a <= b <= c for a, b, c in zip(tight, loose, vanilla, strict=True))
