"""The campaign's short part: one real fault at a fixed moment, and every rule against a home where it was broken on purpose."""

import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from commands import CONFIG, Ended, end_all
from damages import damage
from faults import FAULTS, play
from lane import Lane
from plans import DATABASES, DECK, MOMENTS, Moment, Plan, draw
from rules import broken_aftermath, broken_end, broken_failure, broken_manners, broken_status, broken_success

from pipeline_lib.config import load_config

MAKING = "MLflow's database is being made"


def test_a_round_is_drawn_from_seed_and_number_alone() -> None:
    plans = [draw(7, number) for number in range(2 * len(DECK))]
    assert plans == [draw(7, number) for number in range(2 * len(DECK))]
    assert plans != [draw(8, number) for number in range(2 * len(DECK))]
    assert Counter(plan.fault for plan in plans[: len(DECK)]) == Counter(DECK)
    assert set(DECK) == set(FAULTS)
    assert len({str(plan) for plan in plans}) == len(plans)


def test_the_run_of_the_campaign_is_a_configuration_of_ours() -> None:
    assert load_config(CONFIG).train.steps == 6


def test_power_that_goes_while_databases_are_made_costs_nothing(lane: Lane) -> None:
    moment = Moment(MAKING, MOMENTS["profile"][MAKING], 0.0, 0.0, DATABASES[MAKING] // 3)
    played = play(lane, Plan(0, 0, "kill_everything", "profile", "plain", moment, "", 0.5, is_looked_at=False))
    assert played.came
    assert played.broken == []


def broken(lane: Lane) -> str:
    return "\n".join(broken_end(lane.home, lane.expected("profile", "plain")))


@pytest.fixture
def whole(lane: Lane) -> Lane:
    """A home after an unbroken command: no rule is broken yet."""
    lane.expected("profile", "plain")
    lane.lay("profile", "plain")
    assert broken(lane) == ""
    assert broken_status(lane.home, "completed") == []
    return lane


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            "UPDATE difficulty SET num_correct = num_correct + 1 WHERE prompt_id = (SELECT min(prompt_id) FROM difficulty)",
            "difficulty",
        ),
        ("DELETE FROM prompts WHERE prompt_id = (SELECT min(prompt_id) FROM prompts)", "prompts: 11 rows where 12 are right"),
        ("UPDATE runs SET status = 'running'", "is called running"),
        ("UPDATE runs SET error = 'a fault'", "runs: 1 rows where 1 are right"),
    ],
)
def test_a_changed_row_is_found(whole: Lane, change: str, found: str) -> None:
    with duckdb.connect(str(whole.home / "laconic.duckdb")) as store:
        store.execute(change)
    assert found in broken(whole)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE runs SET status = 'RUNNING' WHERE name = 'profile'", "MLflow calls profile running"),
        ("UPDATE metrics SET value = value + 1 WHERE key = 'num_tokens'", "MLflow: 1 of"),
        ("DELETE FROM metrics", "MLflow:"),
        ("INSERT INTO registered_models (name) VALUES ('chaos')", ""),
    ],
)
def test_what_mlflow_should_not_say_is_found(whole: Lane, change: str, found: str) -> None:
    with closing(sqlite3.connect(whole.home / "mlflow.db")) as database, database:
        database.execute(change)
        if not found:  # a second version, as two registrations leave it
            database.execute("INSERT INTO model_versions (name, version, source) VALUES ('chaos', 2, 'models:/m-1')")
    assert (found or "registered: ['chaos 2'], not []") in broken(whole)


def test_a_lost_shard_is_found_and_a_file_half_written(whole: Lane) -> None:
    [shard] = whole.home.glob("rollouts/*/profile/*.parquet")
    shard.rename(shard.with_name(f".{shard.name}.1.tmp"))
    assert "rollouts: 0 rows where 24 are right" in broken(whole)
    assert f"left over: {shard.parent.relative_to(whole.home)}/.{shard.name}.1.tmp" in broken(whole)


def test_what_runs_on_or_lies_outside_is_found(whole: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    assert broken_aftermath(whole.place) == []
    monkeypatch.setattr("commands.ORPHAN_SECONDS", 0.5)
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env=whole.place.environment())
    (whole.place.folder / "user" / "notes.txt").touch()
    try:
        assert broken_aftermath(whole.place) == [
            f"left running: other {left.pid}",
            f"written outside the home: {whole.place.folder / 'user' / 'notes.txt'}",
        ]
    finally:
        left.wait(10)
        end_all(whole.home)


def test_manners() -> None:
    one_line = Ended("train", 1, "", "  chaos: train: 2/6 \nlaconic: No space left on device: here\n", 1.0)
    assert broken_manners(one_line, 10.0) == [] and broken_failure(one_line, "space") == []
    assert broken_success(one_line) != [] and broken_failure(one_line, "memory") != []
    for ended in (
        Ended("train", 1, "", "\n".join(["laconic: no", *["Traceback (most recent call last)"]]), 1.0),
        Ended("train", 0, "", "warning\n" * 10, 1.0),
        Ended("train", 1, "", "no reason\n", 1.0),
        Ended("train", None, "", "", 1.0),
    ):
        assert broken_manners(ended, 10.0) != [], ended
    killed = Ended("train", -signal.SIGKILL, "", "", 1.0)
    assert broken_manners(killed, 10.0) == [] and broken_success(killed) != [] and broken_failure(killed) != []


@pytest.mark.parametrize("how", ["flip a bit of", "truncate", "empty", "overwrite"])
def test_damage_changes_a_file(tmp_path: Path, how: str) -> None:
    import random

    path = tmp_path / "file"
    for seed in range(20):
        path.write_bytes(bytes(range(100)))
        damage(path, how, random.Random(seed))
        assert path.read_bytes() != bytes(range(100))
