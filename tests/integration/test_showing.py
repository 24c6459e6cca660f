"""`laconic show` and `laconic export` on a real store."""

import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console
from stored_runs import HOSTILE, write_runs
from typer.testing import CliRunner

from pipeline_lib.runs.rollout_examples import interesting_rollouts, view_rollout
from pipeline_lib.store.database import Store


def test_an_evaluated_rollout_stands_between_both_ends_of_training(home: Path) -> None:
    one, two = write_runs(home)
    store = Store(home)
    view = view_rollout(store, f"{one.run_id}/evaluate/one-6/p1/0")
    assert [(each.role, each.row["num_tokens"], each.row["correct"]) for each in view.shown] == [
        ("before training", 90, False),
        ("after training step 6", 40, True),
    ]
    before = view_rollout(store, "one/evaluate/builtin:tiny-0/p1/0")  # a name does for the run
    assert [each.row["rollout_id"] for each in before.shown] == [each.row["rollout_id"] for each in view.shown]
    # The second run took the base's evaluation over: its rollouts lie with the first.
    borrowed = view_rollout(store, f"{two.run_id}/evaluate/two-6/p1/0")
    assert [each.row["run_id"] for each in borrowed.shown] == [one.run_id, two.run_id]


def test_a_rollout_of_training_or_profiling_stands_with_its_prompt(home: Path) -> None:
    one, _ = write_runs(home)
    store = Store(home)
    view = view_rollout(store, f"{one.run_id}/train/one-2/p2/1")
    assert [each.role for each in view.shown] == ["before training (profile)", "in training, step 2", "in training, step 5"]
    assert [each.row["sample_index"] for each in view.shown] == [1, 1, 1]
    assert len(view.others) == 3
    assert all("/p2/" in other["rollout_id"] for other in view.others)
    profiled = view_rollout(store, f"{one.run_id}/profile/builtin:tiny-0/p5/0")
    assert [each.role for each in profiled.shown] == ["before training (profile)"]  # never drawn in training
    assert [other["sample_index"] for other in profiled.others] == [1]


def test_beside_replaces_the_counterparts(home: Path) -> None:
    one, two = write_runs(home)
    view = view_rollout(Store(home), f"{one.run_id}/evaluate/one-6/p1/0", f"{two.run_id}/evaluate/two-6/p3/0")
    assert [each.row["prompt_id"] for each in view.shown] == ["p1", "p3"]


def test_unknown_rollouts_name_the_nearest(home: Path) -> None:
    one, _ = write_runs(home)
    store = Store(home)
    with pytest.raises(ValueError, match=f"no rollout .*; the nearest are {one.run_id}/evaluate/one-6/p1/0, .*'laconic show"):
        view_rollout(store, f"{one.run_id}/evaluate/one-7/p1/0")
    with pytest.raises(ValueError, match="no run 'three'; the "):
        view_rollout(store, "three/evaluate/x-0/p1/0")
    store.write("runs", [{"run_id": "empty-1", "name": "empty"}])
    with pytest.raises(ValueError, match="run empty-1 has no rollouts of its own"):
        view_rollout(store, "empty/evaluate/x-0/p1/0")
    with pytest.raises(ValueError, match="'empty-1' has no rollouts of its own"):
        interesting_rollouts(store, "empty")


def test_a_run_lists_rollouts_worth_a_look(home: Path) -> None:
    one, _ = write_runs(home)
    store = Store(home)
    run_id, found = interesting_rollouts(store, "one")
    assert run_id == one.run_id
    by_kind: dict[str, list[tuple[str, int, int | None]]] = {}
    for each in found:
        by_kind.setdefault(each.why, []).append((each.rollout_id.split("/")[-2], each.num_tokens, each.tokens_before))
    assert by_kind == {
        "longest": [("p5", 60, 192), ("p4", 50, 150), ("p3", 45, 100)],
        "shortest correct": [("p0", 15, 20), ("p2", 30, 60), ("p1", 40, 90)],
        "fixed by training": [("p1", 40, 90)],
        "broken by training": [("p4", 50, 150)],
    }
    store.replace("stage_results", {"run_id": one.run_id, "stage": "evaluate"}, [])
    _, without_evaluation = interesting_rollouts(store, "one")
    assert {each.why for each in without_evaluation} == {"longest", "shortest correct"}
    assert all(view_rollout(store, each.rollout_id) for each in without_evaluation)


def printed(home: Path, rollout_id: str, width: int) -> str:
    from flows.commands.showing import show_rollout

    stream = io.StringIO()
    show_rollout(home, rollout_id, None, "text", Console(file=stream, width=width))
    return stream.getvalue()


def test_side_by_side_when_wide_and_below_each_other_when_narrow(home: Path) -> None:
    one, _ = write_runs(home)
    rollout_id = f"{one.run_id}/evaluate/one-6/p1/0"
    wide, narrow = printed(home, rollout_id, 160), printed(home, rollout_id, 70)
    (line,) = [line for line in wide.splitlines() if "before training" in line]
    assert "after training step 6" in line
    assert all(len(line) <= 70 for line in narrow.splitlines() if "problem" not in line)
    heads = [line for line in narrow.splitlines() if "training" in line]
    assert ["before" in line for line in heads] == [True, False]
    for text in (wide, narrow):
        assert f"problem  p1: {HOSTILE}" in text
        for fact in ("num_tokens        90", "num_tokens        40", "grade_reason      wrong", "finish_reason     stop"):
            assert fact in text
        assert "reward" not in text.replace("rewards", "")  # of evaluated rollouts there is none
    trained = printed(home, f"{one.run_id}/train/one-2/p2/1", 200)
    for fact in (
        "reward            0",
        "advantage         0.25",
        "masked            False",
        "policy_lag        0",
        "Other rollouts of this prompt",
    ):
        assert fact in trained


def test_commands(home: Path, tmp_path: Path) -> None:
    from flows.cli import app

    one, two = write_runs(home)
    runner = CliRunner()
    shown = runner.invoke(app, ["show", f"{one.run_id}/evaluate/one-6/p1/0", "--format", "json"])
    tree = json.loads(shown.stdout)
    assert tree["problem"] == f"p1: {HOSTILE}"
    assert [each["num_tokens"] for each in tree["rollouts"]] == [90, 40]
    listed = json.loads(runner.invoke(app, ["show", "one", "--format", "json"]).stdout)
    assert listed["run_id"] == one.run_id
    assert {each["why"] for each in listed["rollouts"]} >= {"fixed by training", "broken by training"}
    refused = runner.invoke(app, ["show", "one", "--beside", "x/y"])
    assert "--beside needs a rollout" in str(refused.exception)
    refused = runner.invoke(app, ["report", "one", "--out", str(tmp_path)])
    assert "--out is for a comparison" in str(refused.exception)

    assert runner.invoke(app, ["export", str(tmp_path / "all")]).exit_code == 0
    assert {path.stem for path in (tmp_path / "all").glob("*.parquet")} == set(Store(home).schema())
    rows = pq.read_table(tmp_path / "all" / "rollouts.parquet")
    assert rows.num_rows == 18 + 12 + 12
    some = ["export", str(tmp_path / "some"), "--tables", "runs,rollouts", "--tables", "prompts", "--run", "two"]
    assert runner.invoke(app, some).exit_code == 0
    assert {path.name for path in (tmp_path / "some").iterdir()} == {
        "runs.parquet",
        "rollouts.parquet",
        "prompts.parquet",
        "schema.json",
    }
    assert set(pq.read_table(tmp_path / "some" / "rollouts.parquet")["run_id"].to_pylist()) == {two.run_id}
    assert pq.read_table(tmp_path / "some" / "prompts.parquet").num_rows == 6  # prompts belong to no run
    refused = runner.invoke(app, ["export", str(tmp_path / "no"), "--tables", "rolouts"])
    assert "no table or view 'rolouts'; there are alarms, " in str(refused.exception)
    assert not (tmp_path / "no").exists()
