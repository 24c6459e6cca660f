"""An experiment on real engines: arms whose training collapses, interrupted by kill -9 and taken up again."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from driving import LACONIC, REPOSITORY, environment, laconic, sql, wait_until_file, wait_until_no_process_is_left

pytestmark = pytest.mark.slow  # three arms, one of them interrupted

# A learning rate that rises until it wrecks the policy: the rewards starve, and the watch must see it.
WRECK = (
    '"train.learning_rate" = 0.04, "train.warmup_steps" = 80, "watch.reward_starvation" = "{action}", '
    '"watch.window_steps" = 4, "watch.hold_steps" = 2'
)
EXPERIMENT = f"""
name = "wreck"
finding = "F5"
title = "A policy wrecked by its learning rate"
paper = "Nothing: a test of the machinery."
seeds = [0]
metrics = ["tokens", "accuracy@192"]

[set]
"train.steps" = 24
"train.prompts_per_step" = 8
"train.rollout_limit_tokens" = 64
"reward.target_tokens" = 64
"prompts.num_prompts" = 48
"profile.num_rollouts" = 4
"checkpoint.every_steps" = 2
"validation.source.num_prompts" = 24
"validation.limit_tokens" = 64
"evaluate.benchmarks.0.num_prompts" = 24
"evaluate.benchmarks.1.num_prompts" = 24
"evaluate.num_samples" = 1

[[arms]]
name = "stop"
label = "stops"
set = {{{WRECK.format(action="stop")}}}

[[arms]]
name = "back"
label = "rolls back"
set = {{{WRECK.format(action="roll_back")}, "watch.roll_back_learning_rate_factor" = 0.001}}

[[arms]]
name = "control"
label = "control"
is_control = true
set = {{"train.steps" = 2, "reward.name" = "vanilla", "train.rollout_limit_tokens" = 192, "train.dynamic_sampling_batches" = 2}}

[[claims]]
text = "Rolling back saves the policy"
metric = "accuracy@192"
arm = "back"
versus = "stop"
relation = ">"
"""


def check_that_it_ends_when_told(home: Path, command: list[str]) -> None:
    """SIGTERM while the first arm trains: child runs are threads, which a signal does not reach."""
    process = subprocess.Popen(
        [*LACONIC, *command],
        env=environment(home),
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until_file(process, home, "training/wreck-stop-*/steps/step-00002.json")
    process.terminate()
    told = time.monotonic()
    _, said = process.communicate()
    assert time.monotonic() - told < 8.0, "five seconds, on a machine that does nothing else"
    assert process.returncode == 143, said
    assert said.splitlines()[-1] == "laconic: terminated; the same command resumes from what is stored"
    assert "Traceback" not in said
    wait_until_no_process_is_left(home)
    assert sql(home, "select distinct status from runs") == [{"status": "cancelled"}]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the experiment was killed while its second arm trained, and then run again."""
    folder = tmp_path_factory.mktemp("experiment")
    (folder / "wreck.toml").write_text(EXPERIMENT.replace('finding = "F5"', f'finding = "F5"\nbase = "{base_file()}"'))
    command = ["experiment", str(folder / "wreck.toml"), "--lanes", "1", "--pages", str(folder / "pages")]
    home = folder / "home"
    check_that_it_ends_when_told(home, command)
    process = subprocess.Popen(
        [*LACONIC, *command], env=environment(home), cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_until_file(process, home, "training/wreck-back-*/steps/step-00003.json")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until_no_process_is_left(home)
    before = sql(home, "select arm, recorded_at from experiments")
    assert [row["arm"] for row in before] == ["stop"]
    done = laconic(home, *command)
    assert "verdict" in done.stdout
    after = sql(home, "select arm, recorded_at, status from experiments order by position")
    assert [(row["arm"], row["status"]) for row in after] == [(arm, "completed") for arm in ("stop", "back", "control")]
    assert after[0]["recorded_at"] == before[0]["recorded_at"], "what was done is not done again"
    return home


def base_file() -> Path:
    return REPOSITORY / "configs" / "experiments" / "base.toml"


def run_id(home: Path, arm: str) -> str:
    found: str = sql(home, f"select run_id from experiments where arm = '{arm}'")[0]["run_id"]
    return found


def test_a_collapse_stops_training_with_a_checkpoint(home: Path) -> None:
    stopped = run_id(home, "stop")
    alarms = sql(home, f"select kind, step, action, value, threshold from alarms where run_id = '{stopped}' order by step")
    starved = next(alarm for alarm in alarms if alarm["kind"] == "reward_starvation")
    assert starved["action"] == "stop"
    assert starved["value"] < starved["threshold"]
    last = sql(home, f"select max(step) as step from training_steps where run_id = '{stopped}'")[0]["step"]
    assert last == starved["step"] < 24
    assert sql(home, f"select step from checkpoints where run_id = '{stopped}' order by step desc")[0]["step"] == last


def test_a_roll_back_restores_the_best_checkpoint_and_goes_on_more_slowly(home: Path) -> None:
    rolled = run_id(home, "back")
    curve = sql(
        home, f"select step, positive_fraction, learning_rate from training_steps where run_id = '{rolled}' order by step"
    )
    assert [row["step"] for row in curve] == list(range(1, 25))
    at = sql(home, f"select min(step) as step from alarms where run_id = '{rolled}' and action = 'roll_back'")[0]["step"]
    before, after = curve[at - 1], curve[at]
    assert before["positive_fraction"] < 0.2
    assert after["positive_fraction"] > 0.4, "the rollouts after it are those of the best checkpoint again"
    assert after["learning_rate"] < before["learning_rate"] / 100


def test_the_metrics_and_the_claim_are_stored_and_the_page_is_written(home: Path) -> None:
    values = {
        row["arm"]: row["value"] for row in sql(home, "select arm, value from experiment_metrics where metric = 'accuracy@192'")
    }
    assert values["back"] > values["stop"]
    page = (home.parent / "pages" / "wreck.md").read_text(encoding="utf-8")
    assert "Rolling back saves the policy" in page
    pictures = list((home.parent / "pages").glob("wreck-*.png"))
    assert pictures
    assert all(picture.name in page for picture in pictures)


def test_dynamic_sampling_draws_further_batches_for_groups_without_a_signal(home: Path) -> None:
    rows = sql(
        home,
        f"select batches_drawn, num_rollouts, zero_variance_fraction from training_steps where run_id = '{run_id(home, 'control')}'",
    )
    assert all(1 < row["batches_drawn"] <= 3 for row in rows)
    assert all(row["num_rollouts"] == 64 * row["batches_drawn"] for row in rows)
    trained = sql(
        home,
        f"""select step, count(distinct prompt_id) filter (not masked and advantage != 0) as used from rollouts
            where run_id = '{run_id(home, "control")}' and stage = 'train' group by step""",
    )
    assert all(row["used"] <= 8 for row in trained)
