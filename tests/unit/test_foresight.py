"""Rank correlation of the preview's scores with outcomes, and its section on the page."""

import pytest

from pipeline_lib.experiments.foresight import ForeseenArm, Foresight, foresight_section, rank_correlation


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([3.0, 2.0, 1.0], [30.0, 20.0, 10.0], 1.0),
        ([3.0, 2.0, 1.0], [10.0, 20.0, 30.0], -1.0),
        # Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 (0 + 1 + 1 + 0) / (4 · 15).
        ([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0], 0.8),
        # Two zeros share rank 1.5: ranks 1.5 1.5 3 against 1 2 3 have covariance 0.75 / 0.75 ... = 0.866.
        ([0.0, 0.0, 5.0], [1.0, 2.0, 3.0], 0.8660254),
    ],
)
def test_rank_correlation_by_hand(first: list[float], second: list[float], expected: float) -> None:
    assert rank_correlation(first, second) == pytest.approx(expected)


def test_the_section_ranks_both_sides() -> None:
    arms = (ForeseenArm("limit", 55.0, 0.7), ForeseenArm("vanilla", 45.0, 0.75), ForeseenArm("-I", 0.0, 0.5))
    text = foresight_section(Foresight("accuracy@192", arms, 0.5))
    assert "**0.50** over 3 arms" in text
    assert "| limit | 55 | 1 | 70.0 | 2 |" in text
    assert "| -I | 0 | 3 | 50.0 | 3 |" in text
