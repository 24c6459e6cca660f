"""Pass rates, the easy/hard rule with its boundary, bands, and the error that shows the histogram."""

import pytest

from pipeline_lib.config import FilterConfig
from pipeline_lib.records import DifficultyEstimate
from pipeline_lib.selection.difficulty import (
    EmptySelectionError,
    difficulty_class,
    pass_rate_histogram,
    select_prompts,
)


def estimates_with(*counts: int, num_rollouts: int = 8) -> list[DifficultyEstimate]:
    return [
        DifficultyEstimate("run", f"p{index}", num_rollouts, count, count / num_rollouts, 10.0)
        for index, count in enumerate(counts)
    ]


@pytest.mark.parametrize(("pass_rate", "label"), [(0.0, "hard"), (0.5, "hard"), (0.625, "easy"), (1.0, "easy")])
def test_half_is_still_hard(pass_rate, label):
    assert difficulty_class(pass_rate) == label


def test_easy_keeps_above_one_half_and_says_why():
    selections = select_prompts(estimates_with(2, 4, 5), FilterConfig(subset="easy"))
    assert [(s.prompt_id, s.subset, s.selected, s.reason) for s in selections] == [
        ("p0", "hard", False, "pass rate 0.25 is at most 0.5"),
        ("p1", "hard", False, "pass rate 0.5 is at most 0.5"),
        ("p2", "easy", True, "pass rate 0.625 is above 0.5"),
    ]


def test_hard_and_easy_split_all():
    estimates = estimates_with(*range(9))
    easy, hard, everything = (
        [s.selected for s in select_prompts(estimates, FilterConfig(subset=subset))] for subset in ("easy", "hard", "all")
    )
    assert sum(easy) == 4 and sum(hard) == 5 and all(everything)
    assert [not kept for kept in easy] == hard


def test_a_band_includes_both_ends():
    band = FilterConfig(subset="band", min_pass_rate=0.25, max_pass_rate=0.75)
    selections = select_prompts(estimates_with(1, 2, 6, 7), band)
    assert [s.selected for s in selections] == [False, True, True, False]
    assert [s.reason for s in selections] == [
        "pass rate 0.125 is below 0.25",
        "pass rate 0.25 is within 0.25 to 0.75",
        "pass rate 0.75 is within 0.25 to 0.75",
        "pass rate 0.875 is above 0.75",
    ]


def test_an_empty_selection_shows_the_histogram():
    with pytest.raises(EmptySelectionError) as error:
        select_prompts(estimates_with(0, 0, 1, num_rollouts=2), FilterConfig(subset="easy"))
    assert str(error.value).splitlines() == [
        "filter.subset = 'easy' selects none of the 3 profiled prompts; their pass rates:",
        f"0/2 | {'#' * 40} 2",
        f"1/2 | {'#' * 20} 1",
        "2/2 |  0",
    ]


def test_nothing_profiled_is_an_error_of_its_own():
    with pytest.raises(EmptySelectionError, match="no prompt was profiled"):
        select_prompts([], FilterConfig(subset="all"))


def test_many_rollouts_are_shown_in_ten_bins():
    lines = pass_rate_histogram(estimates_with(0, 9, 10, 50, 100, num_rollouts=100))
    assert [line.split()[0] for line in lines][:2] == ["0.0-0.1", "0.1-0.2"]
    assert [int(line.split()[-1]) for line in lines] == [2, 1, 0, 0, 0, 1, 0, 0, 0, 1]
