"""The whole pipeline on real engines with the smoke configuration, as a user drives it: run, look, run again, kill, resume."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from driving import (
    LACONIC,
    QUICK,
    REPOSITORY,
    environment,
    laconic,
    sql,
    wait_until_file,
    wait_until_no_process_is_left,
)
from enriching import enriched_copy

from pipeline_lib.store.database import Store
from pipeline_lib.store.sql_docs import questions

SMOKE = REPOSITORY / "configs" / "smoke.toml"
SQL_PAGE = (REPOSITORY / "docs" / "sql.md").read_text(encoding="utf-8")
TIMES = ("tokens_per_second", "generation_seconds", "update_seconds", "sync_seconds", "other_seconds", "checkpoint_seconds")


def training_curve(home: Path) -> list[dict[str, Any]]:
    rows = sql(home, "select * from training_steps order by step")
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


@pytest.fixture(autouse=True)
def lasting_server(prefect_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of this file report to one server: each would start one of its own, as that of `smoke_home` has."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)


def test_every_stage_left_its_rows(smoke_home: Path) -> None:
    run = sql(smoke_home, "select * from runs")[0]
    assert run["status"] == "completed"
    assert run["error"] is None
    assert run["run_id"].startswith("smoke-")
    assert run["mlflow_run_id"]
    assert run["prefect_flow_run_id"]
    by_stage = {
        row["stage"]: row
        for row in sql(
            smoke_home,
            "select stage, count(*) as n, avg(num_tokens) as tokens, avg(correct::int) as correct from rollouts group by stage",
        )
    }
    assert {stage: row["n"] for stage, row in by_stage.items()} == {
        "profile": 48 * 4,
        "train": 6 * 8 * 8,
        "evaluate": 48 * len(sql(smoke_home, "select distinct step from budget_results")),
    }
    assert all(0 < row["correct"] < 1 for row in by_stage.values())
    difficulty = sql(smoke_home, "select count(*) as n, sum(num_rollouts) as rollouts from difficulty")[0]
    assert difficulty == {"n": 48, "rollouts": 192}
    selected = sql(
        smoke_home,
        "select count(*) as n from selections s join difficulty d using (run_id, prompt_id) where selected and pass_rate > 0.5",
    )
    easy = sql(smoke_home, "select count(*) as n from difficulty where pass_rate > 0.5")
    assert selected == easy
    trained_on = sql(smoke_home, "select distinct prompt_id from rollouts where stage = 'train'")
    allowed = sql(smoke_home, "select prompt_id from selections where selected")
    assert {row["prompt_id"] for row in trained_on} <= {row["prompt_id"] for row in allowed}


def test_training_metrics_are_whole_and_agree_with_the_rollouts(smoke_home: Path) -> None:
    curve = training_curve(smoke_home)
    assert [row["step"] for row in curve] == [1, 2, 3, 4, 5, 6]
    assert all(row["logprob_gap"] < 1e-3 for row in curve)
    assert all(row["kl"] is not None and row["kl"] >= 0 for row in curve)
    from_rollouts = sql(
        smoke_home,
        """select step, avg(correct::int) as accuracy, avg(reward) as reward_mean, avg(num_tokens) as mean_tokens,
           -sum(mean_logprob * num_tokens) / sum(num_tokens) as entropy, avg((finish_reason = 'length')::int) as truncated
           from rollouts where stage = 'train' group by step order by step""",
    )
    for measured, recomputed in zip(curve, from_rollouts, strict=True):
        for key in ("accuracy", "reward_mean", "mean_tokens", "entropy"):
            assert measured[key] == pytest.approx(recomputed[key], rel=1e-6), key
        assert measured["truncated_fraction"] == pytest.approx(recomputed["truncated"])
    overlong = sql(smoke_home, "select max(num_tokens) as n from rollouts where stage = 'train'")[0]["n"]
    assert overlong == 64


def test_budget_results_agree_with_the_rollouts_and_join(smoke_home: Path) -> None:
    points = sql(smoke_home, "select * from budget_results order by step, budget_tokens")
    assert [(point["step"], point["budget_tokens"]) for point in points] == [
        (s, b) for s in (0, 6) for b in (24, 48, 96, 192)
    ] or {point["step"] for point in points} == {0, 3, 6}
    for point in points:
        recomputed = sql(
            smoke_home,
            f"""select avg((correct and finish_reason = 'stop' and num_tokens <= {point["budget_tokens"]})::int) as accuracy
                from rollouts where stage = 'evaluate' and step = {point["step"]}""",
        )[0]["accuracy"]
        assert point["mean_at_k"] == pytest.approx(recomputed)
        assert point["ci_low"] <= point["mean_at_k"] <= point["ci_high"]
    joined = sql(
        smoke_home,
        """select r.name, c.model_name, c.model_version, b.mean_at_k from budget_results b
           join checkpoints c on c.run_id = b.run_id and c.step = b.step join runs r on r.run_id = b.run_id where c.is_best""",
    )
    assert joined
    assert all(row["model_name"] == "smoke" and row["model_version"] == 1 for row in joined)


def test_the_report_is_whole(smoke_home: Path) -> None:
    pages = list((smoke_home / "reports").glob("smoke-*/report.html"))
    assert len(pages) == 1
    html = pages[0].read_text(encoding="utf-8")
    assert html.count("data:image/png;base64,") >= 4
    assert 'src="http' not in html
    assert 'href="http' not in html


def test_the_model_is_registered_and_loads_unchanged(smoke_home: Path) -> None:
    from transformers import AutoModelForCausalLM

    from pipeline_lib.config import TrackingConfig
    from pipeline_lib.tracking import Registry

    registry = Registry(TrackingConfig(), smoke_home)
    folder = registry.folder("smoke", registry.version_of("smoke", "challenger"))
    registered = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    best = sql(smoke_home, "select path from checkpoints where is_best")[0]["path"]
    saved = AutoModelForCausalLM.from_pretrained(Path(best) / "model").state_dict()
    assert all(saved[name].equal(weight) for name, weight in registered.items())


@pytest.mark.parametrize("engine", ["transformers", pytest.param("vllm", marks=pytest.mark.slow)])
def test_a_run_killed_at_any_moment_goes_on_and_ends_the_same(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """kill -9 of the worker after its first checkpoint, which another one follows, then of the command, then the same command.

    No step is missing, none is there twice, and the metrics are the same.
    """
    unbroken = request.getfixturevalue("smoke_home") if engine == "vllm" else request.getfixturevalue("quick_run")[0]
    changes = [] if engine == "vllm" else QUICK
    home = tmp_path / "killed"
    process = run_until(home, "training/*/steps/step-00004.json", *changes)
    [worker] = home.glob("workers/*/process.json")
    worker.rename(worker.with_name("killed.json"))
    os.kill(json.loads(worker.with_name("killed.json").read_text())["pid"], signal.SIGKILL)
    wait_until_file(process, home, "workers/*/process.json")
    [worker] = home.glob("workers/*/process.json")
    wait_until_file(process, home, f"workers/{worker.parent.name}/*.progress.json")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until_no_process_is_left(home)
    assert list(home.glob("checkpoints/*/step-00003/progress.json"))
    laconic(home, "run", str(SMOKE), *changes)
    assert training_curve(home) == training_curve(unbroken)
    log = "".join(path.read_text() for path in home.glob("workers/*/log.txt"))
    assert log.count("resumed from") == 2
    [event] = sql(home, "select kind, stage, done, reason from run_events")
    assert (event["kind"], event["stage"]) == ("worker_restarted", "train") and event["done"] >= 4
    assert event["reason"].startswith("the worker was killed by the system")


def test_a_terminated_run_is_cancelled_and_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor the Prefect server that it has started."""
    monkeypatch.delenv("PREFECT_API_URL")
    home = tmp_path / "terminated"
    process = run_until(home, "rollouts/*/profile/*.parquet", *QUICK)
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM
    wait_until_no_process_is_left(home)
    assert sql(home, "select status from runs") == [{"status": "cancelled"}]


def run_until(home: Path, pattern: str, *changes: str) -> subprocess.Popen[bytes]:
    """Start the smoke run and return it, still running, as soon as a file of this pattern is there."""
    process = subprocess.Popen(
        [*LACONIC, "run", str(SMOKE), *changes],
        env=environment(home),
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until_file(process, home, pattern)
    return process


def test_stages_say_what_they_are_missing(tmp_path: Path) -> None:
    done = laconic(tmp_path / "empty", "filter", str(SMOKE), check=False)
    assert done.returncode == 1
    assert "has no difficulty profile yet: run 'laconic profile'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.slow  # integration/test_policy.py holds two ranks against one more shortly
def test_two_ranks_train_as_one(smoke_home: Path, tmp_path: Path) -> None:
    """The draws depend on prompt and seed, not on the rank: the first step is the same batch, and its gradient the same."""
    home = tmp_path / "two"
    laconic(
        home,
        "run",
        str(SMOKE),
        "--set",
        "compute.num_processes=2",
        "--set",
        "train.steps=2",
        "--set",
        "checkpoint.every_steps=2",
    )
    one, two = training_curve(smoke_home)[0], training_curve(home)[0]
    for key in ("accuracy", "reward_mean", "mean_tokens", "zero_variance_fraction", "num_rollouts", "optimizer_steps"):
        assert two[key] == one[key], key
    for key in ("grad_norm", "entropy"):
        assert two[key] == pytest.approx(one[key], rel=1e-3), key
    assert training_curve(home)[1]["logprob_gap"] < 1e-3
    files = sorted(path.name for path in home.glob("rollouts/*/train/*.parquet"))
    assert files == [f"step-0000{step}-rank-{rank}.parquet" for step in (1, 2) for rank in (0, 1)]


@pytest.fixture(scope="module")
def enriched_home(smoke_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with a control, an alarm, an experiment and a promotion, so that every question has an answer."""
    return enriched_copy(smoke_home, tmp_path_factory.mktemp("enriched") / "home")


def test_every_question_in_the_docs_has_its_answer(enriched_home: Path) -> None:
    asked = list(questions(SQL_PAGE))
    assert [each.heading.split(".")[0] for each in asked] == [str(number) for number in range(1, 23)]
    for each in asked:
        result = Store(enriched_home).query(each.sql.replace("'demo", "'smoke"))
        assert result.columns == each.columns, f"{each.heading}: make the outputs in docs/sql.md anew"
        # So short a training need not turn a problem round.
        assert result.rows or each.heading.startswith("1."), each.heading
        assert len(each.output.splitlines()) > 2, f"{each.heading}: the page shows no row"


def test_the_way_into_pandas_and_polars_is_as_shown(enriched_home: Path, tmp_path: Path) -> None:
    """Every command and snippet of the page's last section, in a folder where the home is called artifacts."""
    page = SQL_PAGE.partition("## Into pandas or polars")[2]
    (tmp_path / "artifacts").symlink_to(enriched_home)
    settings = {"env": environment(enriched_home), "cwd": tmp_path, "capture_output": True, "text": True, "check": False}
    commands = [line for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    assert len(commands) == 2
    for command in commands:
        words = shlex.split(command.replace("--run demo", "--run smoke"))
        assert words[0] == "laconic"
        done = subprocess.run([*LACONIC, *words[1:]], **settings)
        assert done.returncode == 0, done.stderr
    assert {path.stem for path in (tmp_path / "exported").glob("*.parquet")} == set(Store(enriched_home).schema())
    assert len(list((tmp_path / "exported" / "demo").iterdir())) == 4
    snippets = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(snippets) == 4
    for snippet in snippets:
        done = subprocess.run([sys.executable, "-W", "error", "-c", snippet], **settings)
        assert done.returncode == 0, snippet + done.stderr
        assert len(done.stdout.splitlines()) > 4, snippet


def test_runs_are_compared_on_a_page(enriched_home: Path, tmp_path: Path) -> None:
    done = laconic(enriched_home, "report", "smoke", "smoke-control", "--out", str(tmp_path / "page"))
    assert str(tmp_path / "page" / "compare.html") in done.stdout
    assert not [line for line in done.stderr.splitlines() if "leaked" in line]
    html = (tmp_path / "page" / "compare.html").read_text(encoding="utf-8")
    assert html.count("data:image/png;base64,") == 3
    assert "2 runs compared" in html
    (cells,) = re.findall(r"<b>B</b> − A</td>(.*?)</tr>", html, re.DOTALL)
    assert set(re.findall(r"<td>([^<]+)<small>", cells)) == {"0.0"}  # the control is a copy of the run
    assert cells.strip().endswith("<td>48</td>")
    refused = laconic(enriched_home, "report", "smoke", "smok", check=False)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "'smok' is how the ids begin of 2 runs; give the id of one: smoke-" in refused.stderr


def test_show_lists_rollouts_and_puts_them_beside_their_counterparts(smoke_home: Path) -> None:
    listed = json.loads(laconic(smoke_home, "show", "smoke", "--format", "json").stdout)
    assert {each["why"] for each in listed["rollouts"]} >= {"longest", "shortest correct"}
    rollout_id = listed["rollouts"][0]["rollout_id"]
    shown = json.loads(laconic(smoke_home, "show", rollout_id, "--format", "json").stdout)
    assert [each["step"] for each in shown["rollouts"]] == [0, 6]
    stored = sql(smoke_home, f"select text, num_tokens from rollouts where rollout_id = '{rollout_id}'")
    assert [{key: shown["rollouts"][1][key] for key in ("text", "num_tokens")}] == stored
    printed = laconic(smoke_home, "show", rollout_id).stdout
    assert "before training" in printed
    assert "after training step 6" in printed
    assert shown["problem"] in printed
    trained = sql(smoke_home, "select rollout_id from rollouts where stage = 'train' and step = 6 limit 1")[0]["rollout_id"]
    printed = laconic(smoke_home, "show", trained).stdout
    assert "advantage" in printed
    assert "before training (profile)" in printed
    refused = laconic(smoke_home, "show", f"{rollout_id}7", check=False)
    assert refused.returncode == 1
    assert rollout_id in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
