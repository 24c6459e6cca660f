"""The dynamics watch: every kind worked out by hand, measured runs of the tiny world, edges, and the two stages."""

import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.config import WatchConfig
from pipeline_lib.records import Alarm, Phase
from pipeline_lib.training.watch import DynamicsWatch, split_phases

KINDS = ("entropy_spike", "length_collapse", "length_rebound", "reward_starvation")
# Medians of three rows, and two windows in a row: small enough to follow by hand.
BY_HAND = WatchConfig(window_steps=3, hold_steps=2)


def steps(first=1, **columns):
    """Rows of training_steps; a column that is not named is healthy and flat."""
    num = max(len(values) for values in columns.values())
    healthy = {"entropy": [0.1] * num, "mean_tokens": [100.0] * num, "accuracy": [0.8] * num, "positive_fraction": [0.5] * num}
    table = healthy | {name: list(values) for name, values in columns.items()}
    return [{"step": first + row} | {name: values[row] for name, values in table.items()} for row in range(num)]


def raised(rows, config=BY_HAND, since_step=0):
    return [(alarm.kind, alarm.step) for alarm in DynamicsWatch(config, "run").history(rows, since_step)]


def curve(points, num):
    """A line through (step, value) points at steps 1 to num."""
    return np.interp(np.arange(1, num + 1), [step for step, _ in points], [value for _, value in points])


def test_an_entropy_spike_by_hand():
    rows = steps(entropy=[0.1, 0.1, 0.1, 0.1, 0.1, 0.3, 0.3, 0.3, 0.3])
    # Medians of steps 3 to 9: .1 .1 .1 .1 .3 .3 .3, against twice .1: above it at step 7, for the second time at step 8.
    assert DynamicsWatch(BY_HAND, "run").history(rows) == [Alarm("run", 8, "entropy_spike", 0.3, 0.2, "warn")]


def test_one_odd_step_is_no_spike():
    assert raised(steps(entropy=[0.1, 0.1, 0.1, 0.1, 5.0, 0.1, 0.1, 0.1])) == []


def test_a_spike_is_above_where_entropy_began():
    fall_and_return = [0.3] * 3 + [0.1] * 5 + [0.29] * 6
    assert raised(steps(entropy=fall_and_return)) == []
    # Median .31 from step 10 (.1 .31 .31) on, for the second time at step 11; the first level is .3.
    assert raised(steps(entropy=[0.3] * 3 + [0.1] * 5 + [0.31] * 6)) == [("entropy_spike", 11)]


def test_the_slow_rise_of_refinement_is_no_spike_and_the_explosion_is():
    falls = list(0.15 + 0.15 * np.exp(-np.arange(200) / 60))
    slow = list(np.linspace(0.15, 0.32, 800))
    assert raised(steps(entropy=falls + slow), WatchConfig()) == []
    explodes = list(np.minimum(0.32 * np.exp(np.arange(100) / 30), 3.0))
    # Twice the lowest of the last 100 steps, about .3, and twice the first level caps it at .6: exp(t / 30) = 600 / 320 at t = 19.
    (kind, step), *others = raised(steps(entropy=falls + slow + explodes), WatchConfig())
    assert kind == "entropy_spike" and 1019 <= step <= 1028 and not others


def test_however_slowly_entropy_grows_twice_the_first_level_is_a_spike():
    rows = steps(entropy=np.linspace(0.1, 0.4, 2000))
    ((kind, step),) = raised(rows, WatchConfig())
    # First level .1007, twice that is reached at step 1 + 1999 * .1014 / .3 = 676; five steps for the median, two more to hold.
    assert kind == "entropy_spike" and 681 <= step <= 685


def test_no_spike_is_called_below_the_floor():
    entropy = [0.002] * 5 + [0.019] * 6
    assert raised(steps(entropy=entropy)) == []
    assert raised(steps(entropy=entropy), WatchConfig(window_steps=3, hold_steps=2, entropy_spike_floor=0.01)) != []


def test_a_length_collapse_by_hand():
    rows = steps(mean_tokens=[100] * 4 + [60] * 5, accuracy=[0.8] * 4 + [0.4] * 5)
    # Medians from step 3 on: 100 100 100 60 60 60 60 and .8 .8 .8 .4 ...: 60 < .7 * 100 and .4 < .6 * .8 = .48 at steps 6, 7.
    assert DynamicsWatch(BY_HAND, "run").history(rows) == [Alarm("run", 7, "length_collapse", 60.0, 70.0, "warn")]


def test_a_fall_within_the_first_window_is_measured_from_where_it_began():
    rows = steps(mean_tokens=[100, 100, 60, 60, 60, 60, 60], accuracy=[0.8, 0.8, 0.8, 0.2, 0.2, 0.2, 0.2])
    # Medians of four from step 4 on: 80 60 60 60 and .8 .5 .2 .2. The first two rows have 100, so that 60 is below .7 of the longest.
    config = WatchConfig(window_steps=4, hold_steps=1)
    assert DynamicsWatch(config, "run").history(rows) == [Alarm("run", 6, "length_collapse", 60.0, 70.0, "warn")]


@pytest.mark.parametrize(
    ("tokens", "accuracy"),
    [
        ([100] * 4 + [20] * 6, [0.8] * 4 + [0.5] * 6),  # short, and 62 % of the accuracy is left: a dip
        ([100] * 4 + [75] * 6, [0.8] * 4 + [0.1] * 6),  # inaccurate, but not short
        ([100] * 4 + [20] * 6, [0.12] * 4 + [0.03] * 6),  # too little accuracy to lose a tenth
        ([100] * 4 + [150] * 6, [0.8] * 4 + [0.0] * 6),  # overlong and wrong is another failure
    ],
)
def test_short_or_wrong_alone_is_no_length_collapse(tokens, accuracy):
    assert "length_collapse" not in dict(raised(steps(mean_tokens=tokens, accuracy=accuracy)))


def test_a_length_rebound_by_hand():
    rows = steps(mean_tokens=[100, 100, 100, 60, 60, 60, 79, 79, 79, 79])
    # Medians from step 3 on: 100 100 60 60 60 79 79 79; 79 > 1.3 * 60 = 78 at steps 8 and 9, and 60 <= (1 - .25) * 100.
    assert DynamicsWatch(BY_HAND, "run").history(rows) == [Alarm("run", 9, "length_rebound", 79.0, 78.0, "warn")]


@pytest.mark.parametrize(
    "tokens",
    [
        [100] * 3 + [60] * 3 + [77] * 5,  # grows by less than 1.3
        [100] * 3 + [200] * 6,  # grows without having become short
        [100] * 3 + [76] * 3 + [120] * 5,  # had lost less than a quarter
    ],
)
def test_growth_alone_is_no_rebound(tokens):
    assert raised(steps(mean_tokens=tokens)) == []


def test_reward_starvation_by_hand():
    rows = steps(positive_fraction=[0.3, 0.3, 0.09, 0.09, 0.09, 0.09, 0.09])
    # Medians from step 3 on: .3 .09 .09 .09 .09: below .1 at steps 4 and 5.
    assert DynamicsWatch(BY_HAND, "run").history(rows) == [Alarm("run", 5, "reward_starvation", 0.09, 0.1, "warn")]
    assert raised(steps(positive_fraction=[0.1] * 9)) == []


def test_an_alarm_is_raised_once_and_again_after_a_window_without_it():
    low, high = [0.0] * 4, [0.5] * 4
    # With medians of three, four steps of either kind make the condition fail at steps 8, 9 and 10 (or 6 to 9): long enough.
    rows = steps(positive_fraction=[*low, *high, *low])
    assert raised(rows) == [("reward_starvation", 4), ("reward_starvation", 11)]
    # Two good steps are outvoted for one window only: the alarm goes on.
    assert raised(steps(positive_fraction=[*low, 0.5, 0.5, *low])) == [("reward_starvation", 4)]
    assert raised(steps(positive_fraction=[0.0] * 50)) == [("reward_starvation", 4)]


def test_examine_returns_what_the_last_row_raises():
    rows = steps(positive_fraction=[0.0] * 8)
    watch = DynamicsWatch(BY_HAND, "run")
    assert [watch.examine(rows[:num]) for num in range(9)] == [[]] * 4 + [watch.history(rows)] + [[]] * 4
    assert watch.examine(list(reversed(rows[:4]))) == watch.history(rows)


def test_only_rows_after_a_roll_back_count():
    entropy = [0.1] * 6 + [0.5] * 6
    assert raised(steps(entropy=entropy)) == [("entropy_spike", 9)]
    assert raised(steps(entropy=entropy), since_step=6) == []
    # Four rows are needed; row 6 is not among them.
    assert raised(steps(positive_fraction=[0.0] * 12), since_step=6) == [("reward_starvation", 10)]
    restored = steps(entropy=[*entropy, *[0.1] * 4, *[0.5] * 4])
    assert raised(restored, since_step=12) == [("entropy_spike", 19)]
    assert DynamicsWatch(BY_HAND, "run").examine(restored[:12], since_step=12) == []


def test_actions_are_those_configured_and_ignored_kinds_are_silent():
    rows = steps(entropy=[0.1] * 4 + [0.5] * 6, positive_fraction=[0.0] * 10)
    config = WatchConfig(window_steps=3, hold_steps=2, entropy_spike="roll_back", reward_starvation="ignore")
    assert [(alarm.kind, alarm.action) for alarm in DynamicsWatch(config, "r").history(rows)] == [
        ("entropy_spike", "roll_back")
    ]
    silent = WatchConfig(window_steps=3, hold_steps=2, **dict.fromkeys(KINDS, "ignore"))
    assert raised(rows, silent) == []


@pytest.mark.parametrize("gap", [None, float("nan"), float("inf")])
def test_rows_without_a_value_are_left_out_for_that_kind(gap):
    rows = steps(entropy=[0.1, 0.1, gap, 0.1, 0.3, gap, 0.3, 0.3], positive_fraction=[0.0] * 8)
    # Entropy known at steps 1 2 4 5 7 8: medians at 4 5 7 8 are .1 .1 .3 .3.
    assert raised(rows) == [("reward_starvation", 4), ("entropy_spike", 8)]
    assert raised([{"step": step} for step in range(1, 20)]) == []
    assert split_phases("run", [{"step": step, "mean_tokens": gap} for step in range(1, 30)]) == []


def test_a_run_of_six_steps_is_too_short_for_an_alarm():
    rows = steps(entropy=[0.1, 9, 9, 9, 9, 9], positive_fraction=[0.0] * 6, mean_tokens=[100, 5, 5, 5, 5, 90])
    assert raised(rows, WatchConfig()) == []
    assert DynamicsWatch(WatchConfig(), "run").examine([]) == []


# Evaluations of tiny-world runs at L_T = 40, at the steps given: (length, accuracy at full length, entropy).
EASY_BASE = {0: (76, 0.743, 0.047), 5: (66, 0.748, 0.048), 10: (53, 0.719, 0.047), 15: (45, 0.757, 0.042), 20: (41, 0.757, 0.038),
             25: (40, 0.738, 0.033), 30: (38, 0.738, 0.035), 35: (38, 0.776, 0.033), 40: (37, 0.774, 0.025)}  # fmt: skip
DIPPING_BASE = {0: (76, 0.710, 0.048), 5: (67, 0.652, 0.051), 10: (59, 0.614, 0.054), 15: (51, 0.643, 0.057),
                20: (49, 0.624, 0.056), 25: (44, 0.514, 0.062), 30: (42, 0.538, 0.064), 35: (42, 0.576, 0.057),
                40: (42, 0.521, 0.051)}  # fmt: skip
HARD_PROMPTS = {0: (76, 0.710, 0.048), 10: (60, 0.581, 0.064), 20: (50, 0.438, 0.069), 30: (47, 0.386, 0.065),
                40: (44, 0.369, 0.058)}  # fmt: skip
CONTROL = {0: (76, 0.710, 0.048), 5: (81, 0.786, 0.040), 10: (88, 0.852, 0.032), 15: (92, 0.933, 0.026), 20: (91, 0.952, 0.024),
           25: (92, 0.976, 0.022), 30: (92, 0.976, 0.019), 35: (91, 0.967, 0.017), 40: (91, 0.969, 0.016)}  # fmt: skip
HARD_REWARDS = [0.04, 0.06, 0.10, 0.11, 0.15, 0.19, 0.20, 0.21]  # mean reward per five steps of the run on hard prompts


def measured(points, positive):
    columns = zip(*points.values(), strict=True)
    tokens, accuracy, entropy = (curve(list(zip(points, column, strict=True)), 40) for column in columns)
    return steps(mean_tokens=tokens, accuracy=accuracy, entropy=entropy, positive_fraction=positive)


def test_measured_runs_of_the_tiny_world():
    better = np.linspace(0.3, 0.8, 40)
    for points in (EASY_BASE, DIPPING_BASE, CONTROL):
        assert raised(measured(points, better), WatchConfig()) == []
    alarms = raised(measured(HARD_PROMPTS, np.repeat(HARD_REWARDS, 5)), WatchConfig())
    (starvation, first), (collapse, second) = alarms
    assert (starvation, first) == ("reward_starvation", 12)
    # The best median of accuracy is that of steps 1 to 10, .639; .6 of it is passed at step 31.5, the length 48 = .7 * 69 before
    # that. The median follows 4.5 steps later, so that steps 37, 38 and 39 are below.
    assert (collapse, second) == ("length_collapse", 39)


# Two runs of the tiny world, step by step: base of the demo, all prompts, truncation at L_T = 40, learning rate 8e-4. With S = 10
# optimiser steps per batch accuracy is lost within ten steps, and after forty entropy doubles again and length gives way.
STALE = {
    "mean_tokens": """
        69.8 60.4 61.4 54.0 45.2 46.5 40.9 44.8 45.3 49.7 40.7 44.7 55.9 39.0 43.9 38.2 39.6 50.4 44.9 56.7 45.0 57.8 45.0
        48.9 61.7 59.6 58.4 44.5 50.2 51.7 48.2 50.4 49.8 56.5 51.0 51.9 47.3 52.1 45.4 45.3 32.5 41.9 39.0 41.9 37.5 34.4
        42.1 33.5 50.8 32.7 27.8 31.8 30.0 25.5 31.0 23.7 22.7 22.1 23.9 32.9 43.8 36.2 29.0 29.0 23.2 20.9 24.0 23.0 25.7
        24.4
    """,
    "accuracy": """
        .81 .84 .81 .73 .71 .64 .57 .29 .28 .29 .19 .30 .22 .46 .23 .36 .38 .19 .42 .46 .46 .47 .38 .39 .39 .36 .46 .31 .44
        .34 .28 .34 .36 .34 .16 .27 .28 .17 .29 .12 .42 .14 .34 .21 .16 .17 .17 .09 .23 .27 .20 .17 .16 .36 .07 .18 .25 .16
        .14 .09 .14 .10 .13 .29 .23 .20 .14 .27 .12 .12
    """,
    "entropy": """
        .041 .038 .026 .028 .034 .035 .037 .055 .056 .068 .077 .062 .069 .066 .059 .052 .073 .070 .063 .070 .063 .043 .064
        .046 .046 .046 .049 .053 .054 .065 .050 .063 .055 .056 .061 .054 .057 .053 .058 .062 .064 .068 .065 .083 .142 .091
        .186 .123 .149 .123 .126 .161 .149 .099 .104 .116 .112 .131 .151 .195 .198 .165 .154 .137 .112 .086 .092 .102 .110
        .111
    """,
}
ON_POLICY = {
    "mean_tokens": """
        69.8 76.4 74.2 63.8 48.9 52.0 42.1 46.5 40.5 48.7 37.7 40.0 47.3 32.6 39.8 33.9 35.5 43.7 34.7 38.6 36.5 37.0 35.3
        38.1 37.9 39.1 33.7 30.4 34.9 36.0 35.2 37.1 34.3 38.8 37.3 37.8 38.2 39.3 34.6 35.8 30.2 35.0 35.3 38.2 32.9 37.8
        39.9 36.4 33.5 41.5 33.3 38.1 36.0 29.8 39.3 33.5 35.6 36.8 43.0 37.0 34.5 33.9 34.0 37.3 36.7 35.9 32.7 32.7 37.8
        38.8
    """,
    "accuracy": """
        .81 .84 .82 .78 .76 .78 .66 .66 .74 .61 .72 .68 .63 .82 .76 .86 .88 .66 .74 .78 .73 .56 .60 .61 .62 .51 .75 .59 .74
        .63 .72 .60 .59 .66 .56 .57 .79 .84 .85 .78 .78 .87 .82 .85 .73 .61 .65 .72 .67 .60 .59 .64 .64 .83 .57 .76 .61 .71
        .59 .68 .52 .68 .72 .75 .69 .61 .76 .73 .65 .59
    """,
    "entropy": """
        .041 .041 .036 .038 .042 .041 .035 .038 .045 .042 .036 .024 .038 .024 .032 .019 .019 .034 .026 .022 .024 .029 .015
        .023 .018 .026 .025 .028 .021 .030 .029 .028 .030 .018 .025 .029 .033 .020 .012 .026 .023 .017 .016 .014 .030 .024
        .027 .020 .021 .030 .029 .030 .032 .021 .027 .020 .021 .023 .022 .024 .034 .026 .025 .023 .017 .026 .015 .033 .026
        .025
    """,
}


def recorded(columns):
    return steps(**{name: [float(value) for value in text.split()] for name, text in columns.items()})


def test_a_recorded_run_that_collapsed_and_one_that_did_not():
    assert raised(recorded(ON_POLICY), WatchConfig()) == []
    assert raised(recorded(STALE), WatchConfig()) == [("length_collapse", 48), ("entropy_spike", 50)]
    assert [phase.phase for phase in split_phases("run", recorded(ON_POLICY))] == ["length_adaptation", "reasoning_refinement"]


def test_the_watch_is_cheap_and_loads_without_torch():
    rows = steps(mean_tokens=np.linspace(6000, 2000, 2000))
    watch, seconds = DynamicsWatch(WatchConfig(), "run"), []
    for _ in range(5):
        started = time.perf_counter()
        watch.examine(rows)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.1
    subprocess.run(
        [sys.executable, "-c", "import sys, pipeline_lib.training.watch; assert 'torch' not in sys.modules"],
        check=True,
        timeout=120,
    )


def test_the_two_phases_of_a_noiseless_run():
    tokens = [*np.linspace(80, 40, 21), *[40.0] * 19]  # turns flat at step 21
    rows = steps(mean_tokens=tokens, accuracy=np.linspace(0.6, 0.9, 40), entropy=curve([(1, 0.4), (21, 0.2), (40, 0.3)], 40))
    adaptation, refinement = split_phases("run", rows)
    assert abs(adaptation.last_step - 21) <= 1
    assert (adaptation.phase, adaptation.first_step) == ("length_adaptation", 1)
    assert (refinement.phase, refinement.first_step, refinement.last_step) == (
        "reasoning_refinement",
        adaptation.last_step + 1,
        40,
    )
    assert adaptation.mean_tokens_first == pytest.approx(76)  # mean of 80 78 76 74 72
    assert refinement.mean_tokens_last == pytest.approx(40)
    assert adaptation.accuracy_first == pytest.approx(0.6 + 0.3 * 2 / 39)
    assert refinement.entropy_last == pytest.approx(0.3 - 0.1 * 2 / 19)


@pytest.mark.parametrize(
    "tokens",
    [
        [80.0] * 40,
        np.linspace(76, 91, 40),
        np.linspace(80, 74, 40),
        [80.0, 60.0, 40.0, 40.0, 40.0, 40.0, 40.0],
        # The mean of five goes from 98 to 74, but what lies between says that this is noise.
        [120.0, 60.0, 130.0, 70.0, 110.0, 60.0, 100.0, 60.0, 40.0, 110.0, 50.0, 100.0, 40.0, 90.0, 60.0, 80.0],
    ],
)
def test_without_a_fall_or_with_few_rows_there_are_no_phases(tokens):
    assert split_phases("run", steps(mean_tokens=tokens)) == []


def test_a_length_that_still_falls_has_one_phase():
    (phase,) = split_phases("run", steps(mean_tokens=np.linspace(80, 40, 30)))
    ends = (80 - 80 / 29, 40 + 80 / 29, 0.8, 0.8, 0.1, 0.1)  # means of five steps that are 40 / 29 tokens apart
    assert phase == Phase("run", "length_adaptation", 1, 30, *(pytest.approx(value) for value in ends))
    # Three flat steps are too few to show that the fall is over.
    assert len(split_phases("run", steps(mean_tokens=[*np.linspace(80, 40, 37), 40, 40, 40]))) == 1
    # Exponentials over 40 steps: one is down to a third of its excess and still falling, one has long been flat.
    for time_constant, names in ((40, ["length_adaptation"]), (8, ["length_adaptation", "reasoning_refinement"])):
        tokens = 37 + 44 * np.exp(-np.arange(40) / time_constant)
        assert [phase.phase for phase in split_phases("run", steps(mean_tokens=tokens))] == names


def test_a_rebound_belongs_to_the_refinement():
    tokens = [*np.linspace(6000, 2000, 100), *[2000.0] * 300, *np.linspace(2000, 3500, 200)]
    adaptation, refinement = split_phases("run", steps(mean_tokens=tokens))
    assert abs(adaptation.last_step - 100) <= 2
    assert refinement.last_step == 600 and refinement.mean_tokens_last > 3400
    falls_and_rises = [*np.linspace(6000, 2000, 100), *np.linspace(2000, 5000, 100)]
    adaptation, refinement = split_phases("run", steps(mean_tokens=falls_and_rises))
    assert abs(adaptation.last_step - 100) <= 5 and refinement.last_step == 200


def test_phases_of_measured_runs():
    better = np.linspace(0.3, 0.8, 40)
    adaptation, refinement = split_phases("run", measured(EASY_BASE, better))
    assert 15 <= adaptation.last_step <= 22  # 41 of the final 37 tokens at step 20
    assert refinement.accuracy_last > refinement.accuracy_first
    assert split_phases("run", measured(CONTROL, better)) == []


def test_the_page_on_dynamics_shows_the_defaults():
    page = (Path(__file__).resolve().parents[2] / "docs" / "dynamics.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert tomllib.loads(block)["watch"] == WatchConfig().model_dump()
