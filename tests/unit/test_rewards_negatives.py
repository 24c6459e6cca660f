"""Table 1 of the paper: which rollouts each strategy keeps in the loss."""

from typing import get_args

import numpy as np
import pytest

from pipeline_lib.config.training import NegativeStrategy
from pipeline_lib.rewards.negatives import KEPT, kept_rollouts

# Columns of Table 1: correct and short, correct and long, incorrect and short, incorrect and long. "-" is masked.
TABLE_1 = {
    "vanilla": "1 0 0 0",
    "-I": "1 0 - -",
    "-L&C": "1 - 0 0",
    "-L&C-S&I": "1 - - 0",
    "-L&C-L&I": "1 - 0 -",
    "L_R=L_T": "1 0 0 0",
}
CORRECT_PN = np.array([[True, True, False, False]])
SHORT_PN = np.array([[True, False, True, False]])


@pytest.mark.parametrize("strategy", sorted(TABLE_1))
def test_the_whole_of_table_1(strategy):
    assert kept_rollouts(strategy, CORRECT_PN, SHORT_PN)[0].tolist() == [cell != "-" for cell in TABLE_1[strategy].split()]


def test_the_configuration_knows_exactly_these_strategies():
    assert set(get_args(NegativeStrategy)) == set(KEPT) == set(TABLE_1)


def test_the_mask_has_the_shape_of_the_groups():
    kept_PN = kept_rollouts("-I", np.array([[True, False], [False, False], [True, True]]), np.zeros((3, 2), dtype=bool))
    assert kept_PN.tolist() == [[True, False], [False, False], [True, True]]
