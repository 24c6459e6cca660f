"""Laws of the masks of Table 1: each is what its name says, on any group."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.rewards.negatives import KEPT, kept_rollouts

CELLS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=24)


def is_masked(term, correct, short):
    """Whether a term of a strategy's name masks a rollout: L longer than L_T, S not; C correct, I not."""
    facts = {"L": not short, "S": short, "C": correct, "I": not correct}
    return all(facts[letter] for letter in term.split("&"))


@pytest.mark.parametrize("strategy", sorted(KEPT))
@settings(deadline=None)
@given(cells=CELLS)
def test_a_strategy_masks_what_its_name_takes_away(strategy, cells):
    correct_PN, short_PN = (np.array([column]) for column in zip(*cells, strict=True))
    terms = strategy.split("-")[1:]
    expected = [not any(is_masked(term, correct, short) for term in terms) for correct, short in cells]
    assert kept_rollouts(strategy, correct_PN, short_PN)[0].tolist() == expected


@settings(deadline=None)
@given(cells=CELLS)
def test_vanilla_and_sampling_at_the_target_mask_nothing(cells):
    correct_PN, short_PN = (np.array([column]) for column in zip(*cells, strict=True))
    assert kept_rollouts("vanilla", correct_PN, short_PN).all()
    assert kept_rollouts("L_R=L_T", correct_PN, short_PN).all()


@pytest.mark.parametrize("strategy", sorted(KEPT))
@settings(deadline=None)
@given(cells=CELLS)
def test_short_correct_rollouts_are_always_kept(strategy, cells):
    correct_PN, short_PN = (np.array([column]) for column in zip(*cells, strict=True))
    assert kept_rollouts(strategy, correct_PN, short_PN)[correct_PN & short_PN].all()
