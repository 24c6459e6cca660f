"""Retraining on a schedule of one minute: one that the gate promotes, one that it refuses, and one whose alarm pauses it."""

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from driving import REPOSITORY, laconic, sql
from serving import Served, served

from pipeline_lib.messages.harmless import markdown_text

DEPLOYMENT = "laconic-retrain/retrain-minute"
# As driving.LIGHT, with fewer answers: test_retraining.py runs the shipped file as it is.
LIGHTER = {
    'name = "retrain-tiny"': 'name = "minute"',
    'engine = "vllm"': 'engine = "transformers"',
    "max_prompt_tokens = 64": "max_prompt_tokens = 1024",
    "[retrain]\n": '[retrain]\nschedule = "* * * * *"\n',
    "num_rollouts = 4": "num_rollouts = 2",
    "num_prompts = 350": "num_prompts = 140",
    "accuracy_margin = 0.02": "accuracy_margin = 0.1",  # what so few answers can tell
}
NOTHING_LEARNT = ["train.learning_rate=1e-8", "train.steps=2", "checkpoint.every_steps=2"]
ALARM_AT_ONCE = ["watch.reward_starvation_fraction=0.999", "watch.hold_steps=1", "watch.window_steps=1"]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`laconic up` over a home with a configuration of its user's own that retrains every minute."""
    home = tmp_path_factory.mktemp("scheduled") / "home"
    (home / "configs").mkdir(parents=True)
    text = (REPOSITORY / "configs" / "retrain-tiny.toml").read_text()
    for shipped, lighter in LIGHTER.items():
        assert text.count(shipped) == 1, shipped
        text = text.replace(shipped, lighter)
    (home / "configs" / "minute.toml").write_text(text)
    with served(home, slots=1) as running:
        yield running


def decisions(home: Path) -> list[dict[str, Any]]:
    return sql(home, "select * from promotions where model_name = 'minute' order by number")


def is_shown(up: Served, decision: dict[str, Any]) -> bool:
    """Whether an artifact of its flow run says why it was decided so."""
    shown = [artifact for artifact in up.artifacts(decision["prefect_flow_run_id"]) if artifact["type"] == "markdown"]
    return any(markdown_text(decision["reason"]) in artifact["data"] for artifact in shown)


def wait_for_decision(up: Served, wanted: Callable[[dict[str, Any]], bool], seconds: float) -> dict[str, Any]:
    """Wait until the newest decision is wanted; returns it."""
    deadline = time.monotonic() + seconds
    while not (found := decisions(up.home)) or not wanted(found[-1]):
        assert time.monotonic() < deadline, all_that_is_known(up)
        time.sleep(2.0)
    return found[-1]


def runs_of(up: Served) -> list[dict[str, Any]]:
    chosen = {"deployments": {"id": {"any_": [up.deployment(DEPLOYMENT)["id"]]}}, "sort": "EXPECTED_START_TIME_ASC"}
    found: list[dict[str, Any]] = up.call("POST", "/flow_runs/filter", chosen)
    return [
        {key: run[key] for key in ("id", "auto_scheduled", "start_time", "state_type")} for run in found if run["start_time"]
    ]


def all_that_is_known(up: Served) -> str:
    """Of a wait that ended in vain, a line each."""
    tables = [sql(up.home, f"select * from {table}") for table in ("runs", "promotions", "alarms")]
    log = (up.home / "services" / "worker.log").read_text()
    return "\n".join([*map(str, [*runs_of(up), *alarm_events(up), *(row for rows in tables for row in rows)]), log[-6000:]])


def change_overrides(up: Served, overrides: list[str]) -> None:
    """As on the deployment's page: the runs that are scheduled already take the new parameters."""
    deployment = up.deployment(DEPLOYMENT)
    parameters = {**deployment["parameters"], "overrides": overrides}
    up.call("PATCH", f"/deployments/{deployment['id']}", {"parameters": parameters})
    assert up.deployment(DEPLOYMENT)["parameters"] == parameters


def hasten(up: Served) -> None:
    """As on the deployment's page: the minute has been shown, and what follows need not wait for it."""
    deployment = up.deployment(DEPLOYMENT)
    [schedule] = deployment["schedules"]
    up.call("PATCH", f"/deployments/{deployment['id']}/schedules/{schedule['id']}", {"schedule": {"interval": 15}})
    assert up.deployment(DEPLOYMENT)["schedules"][0]["schedule"]["interval"] == 15


def champion(up: Served) -> int:
    """Version behind the alias `champion`, from MLflow's own API."""
    query = urllib.parse.urlencode({"name": "minute", "alias": "champion"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{up.mlflow}/api/2.0/mlflow/registered-models/alias?{query}") as response:
        return int(json.load(response)["model_version"]["version"])


@pytest.mark.timeout(1200)
def test_the_schedule_retrains_and_the_gate_promotes_then_refuses(up: Served) -> None:
    assert up.deployment(DEPLOYMENT)["schedules"][0]["schedule"]["cron"] == "* * * * *"
    first = wait_for_decision(up, lambda row: True, seconds=300)
    hasten(up)
    change_overrides(up, NOTHING_LEARNT)
    assert (first["kind"], first["decision"]) == ("retrain", "promoted"), first
    assert first["champion_version"] is None
    assert first["token_ci_high"] < 0
    promoted = first["challenger_version"]
    assert first["champion_after"] == promoted
    refused = wait_for_decision(up, lambda row: row["decision"] == "kept", seconds=600)
    change_overrides(up, [*NOTHING_LEARNT, *ALARM_AT_ONCE])  # for the next test, before another one begins
    assert refused["cause"] in ("no_gain", "worse", "undecided"), refused["reason"]
    assert refused["number"] > first["number"]
    assert refused["champion_version"] == refused["champion_after"] == champion(up)
    assert refused["base_model"] == f"models:/minute/{refused['champion_version']}"
    budgets = sql(up.home, "select decision_id, count(*) as n from promotion_budgets group by decision_id")
    assert {row["decision_id"] for row in budgets} == {row["decision_id"] for row in decisions(up.home)}
    by_schedule = {run["id"] for run in runs_of(up) if run["auto_scheduled"]}
    assert {row["prefect_flow_run_id"] for row in decisions(up.home)} <= by_schedule
    for decision in (first, refused):
        deadline = time.monotonic() + 30  # it is shown once it has been written
        while not is_shown(up, decision):
            assert time.monotonic() < deadline
            time.sleep(1.0)


def test_an_alarm_pauses_the_schedule(up: Served) -> None:
    deadline = time.monotonic() + 300
    while not up.deployment(DEPLOYMENT)["paused"]:
        assert time.monotonic() < deadline, all_that_is_known(up)
        time.sleep(1.0)
    raised = sql(up.home, "select kind, action from alarms")
    assert {"kind": "reward_starvation", "action": "warn"} in raised
    while not (events := alarm_events(up)):  # an automation acts on an event before it is written
        assert time.monotonic() < deadline, "no event of an alarm"
        time.sleep(1.0)
    assert {event["event"] for event in events} >= {"laconic.alarm.reward_starvation"}
    assert all(event["payload"]["run_id"].startswith("minute-") for event in events)


def alarm_events(up: Served) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = up.call("POST", "/events/filter", {"filter": {"event": {"prefix": ["laconic.alarm."]}}})[
        "events"
    ]
    return found


def test_an_event_starts_a_retraining(up: Served) -> None:
    """Started, and then cancelled: what a retraining does is shown above."""
    for run in runs_of(up):
        if run["state_type"] not in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            up.call("POST", f"/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}})
            up.wait(run["id"], 60)
    event = {
        "event": "laconic.retrain.requested",
        "resource": {"prefect.resource.id": "laconic.model.minute"},
        "payload": {"config": str(up.home / "configs" / "minute.toml")},
    }
    up.call("POST", "/events", [{**event, "id": "0193f0a0-0000-7000-8000-000000000001", "occurred": now()}])
    deployment = up.deployment("laconic-retrain/retrain")["id"]
    deadline = time.monotonic() + 90
    while not (started := up.call("POST", "/flow_runs/filter", {"deployments": {"id": {"any_": [deployment]}}})):
        assert time.monotonic() < deadline
        time.sleep(1.0)
    assert started[0]["parameters"]["config"] == event["payload"]["config"]  # type: ignore[index]
    up.call("POST", f"/flow_runs/{started[0]['id']}/set_state", {"state": {"type": "CANCELLING"}})
    assert up.wait(started[0]["id"], 60) == "CANCELLED"


def test_the_history_and_the_way_back_are_commands(up: Served) -> None:
    history = laconic(up.home, "promotions", "minute").stdout
    assert "promoted" in history and "kept" in history
    done = laconic(up.home, "rollback", "minute", check=False)
    promoted = [row for row in decisions(up.home) if row["decision"] == "promoted"]
    if len(promoted) > 1:
        assert done.returncode == 0, done.stderr
        assert champion(up) == promoted[-2]["challenger_version"]
    else:
        assert done.returncode == 1
        assert "nothing to go back to" in done.stderr


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
