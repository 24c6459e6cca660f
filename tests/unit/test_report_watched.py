"""Alarms and stages as the report words them; every kind and action that the watch knows has a sentence."""

from typing import Any, get_args

import pytest

from pipeline_lib.config.training import AlarmAction
from pipeline_lib.report.watched import ACTIONS, MEANINGS, alarm_sentence, watch_notes
from pipeline_lib.training.watch import CONDITIONS


def alarm(kind: str, value: float, threshold: float, action: str | None = "warn") -> dict[str, Any]:
    return {"step": 20, "kind": kind, "value": value, "threshold": threshold, "action": action}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            alarm("length_rebound", 3500.4, 2600.0, "stop"),
            "Alarm in this run at step 20, length rebound: the mean length rose again to 3,500 tokens (above 2,600 is an alarm). "
            "Training was stopped.",
        ),
        (
            alarm("reward_starvation", 0.06, 0.1, None),
            "Alarm in this run at step 20, reward starvation: only 6 % of the rollouts had a positive reward (below 10 % is an "
            "alarm).",
        ),
    ],
)
def test_an_alarm_in_words(row: dict[str, Any], sentence: str) -> None:
    assert alarm_sentence("this run", row) == sentence


def test_every_kind_and_action_has_words() -> None:
    assert set(MEANINGS) == set(CONDITIONS)
    assert set(ACTIONS) == set(get_args(AlarmAction)) - {"ignore"}


def test_no_stages_no_sentence() -> None:
    assert watch_notes("this run", [], []) == []
