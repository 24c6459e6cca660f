"""Retraining from the command line on real engines: killed and taken up, promoted, refused, held against the gate by hand."""

import signal
import subprocess
from pathlib import Path

import pytest
from driving import LACONIC, REPOSITORY, environment, laconic, sql, wait_until_file, wait_until_no_process_is_left

# Three starts of an engine. test_scheduled.py shows the promotion and the refusal, too.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

CONFIG = "configs/retrain-tiny.toml"
NOTHING_LEARNT = ["--set", "train.learning_rate=1e-8", "--set", "train.steps=2", "--set", "checkpoint.every_steps=2"]


@pytest.fixture(scope="module")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which a retraining was killed in its eighth step or later and started again, and a second one was refused."""
    home = tmp_path_factory.mktemp("retrained")
    process = subprocess.Popen(
        [*LACONIC, "retrain", CONFIG],
        env=environment(home),
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until_file(process, home, "checkpoints/*/step-00008/progress.json")
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    wait_until_no_process_is_left(home)
    assert sql(home, "select count(*) as n from promotions") == [{"n": 0}]
    assert "retrain-tiny/1: promoted" in laconic(home, "retrain", CONFIG).stdout
    assert "retrain-tiny/2: kept" in laconic(home, "retrain", CONFIG, *NOTHING_LEARNT).stdout
    return home


def test_a_killed_retraining_is_taken_up_and_decided_once(retrained: Path) -> None:
    first, second = sql(retrained, "select * from promotions order by number")
    runs = sql(
        retrained, "select run_id, config->>'seed' as seed, config->>'base_model' as base, status from runs order by seed"
    )
    assert [(row["run_id"], row["seed"], row["base"], row["status"]) for row in runs] == [
        (first["run_id"], "0", "builtin:tiny", "completed"),
        (second["run_id"], "1", "models:/retrain-tiny/1", "completed"),
    ]
    steps = sql(retrained, f"select step from training_steps where run_id = '{first['run_id']}' order by step")
    assert [row["step"] for row in steps] == list(range(1, 17))


def test_the_gate_promotes_what_is_shorter_and_refuses_what_gains_nothing(retrained: Path) -> None:
    first, second = sql(retrained, "select * from promotions order by number")
    assert (first["decision"], first["cause"], first["champion_version"], first["champion_after"]) == (
        *("promoted", "shorter", None, 1),
    )
    assert first["token_change_ci_high"] < -0.2
    assert first["accuracy_ci_low"] > 0
    assert (second["decision"], second["champion_version"], second["champion_after"]) == ("kept", 1, 1)
    assert second["cause"] in ("no_gain", "worse"), second["reason"]
    sweep = sql(retrained, f"select * from budget_results where run_id = '{first['run_id']}'")
    accuracy = {(row["step"], row["budget_tokens"]): row["mean_at_k"] for row in sweep}
    for row in sql(retrained, f"select * from promotion_budgets where decision_id = '{first['decision_id']}'"):
        assert row["champion_accuracy"] == pytest.approx(accuracy[0, row["budget_tokens"]])
        assert row["challenger_accuracy"] == pytest.approx(accuracy[first["challenger_step"], row["budget_tokens"]])
        assert row["difference"] == pytest.approx(row["challenger_accuracy"] - row["champion_accuracy"])
        assert row["passed"]


def test_the_retraining_starts_from_the_champion(retrained: Path) -> None:
    """The profile of the second retraining is the champion's: its responses are short from the start."""
    lengths = sql(
        retrained,
        """select config->>'seed' as seed, avg(num_tokens) as tokens from rollouts join runs using (run_id)
           where stage = 'profile' group by all order by seed""",
    )
    assert lengths[1]["tokens"] < 0.8 * lengths[0]["tokens"]


def test_by_hand(retrained: Path) -> None:
    first, second = sql(retrained, "select * from promotions order by number")
    already = laconic(retrained, "promote", first["run_id"], check=False)
    assert already.returncode == 1
    assert "version 1 is the champion already" in already.stderr
    again = laconic(retrained, "promote", second["run_id"])
    assert "retrain-tiny/3: kept" in again.stdout
    assert second["reason"] in again.stdout
    back = laconic(retrained, "rollback", "retrain-tiny", check=False)
    assert back.returncode == 1
    assert back.stderr.strip().endswith("there is nothing to go back to from version 1 (no alias 'previous')")
    assert len(back.stderr.strip().splitlines()) == 1
    history = laconic(retrained, "promotions", "retrain-tiny").stdout
    assert [word in history for word in ("retrain-tiny/1", "retrain-tiny/3", "promote", "kept")] == [True] * 4
    assert laconic(retrained, "promotions", "other", check=False).returncode == 1
