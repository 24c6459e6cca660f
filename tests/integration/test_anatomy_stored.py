"""Recorded rollouts through `evaluate_recorded` into the store: their anatomy and cost in SQL, the same after a resume and compaction."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from stored_runs import write_runs

from pipeline_lib.config import PricesConfig, recorded_config
from pipeline_lib.stages.display import Display
from pipeline_lib.stages.recorded import evaluate_recorded
from pipeline_lib.store.compaction import compacted_folder
from pipeline_lib.store.database import Store

LOOP = "We add the numbers of the first row to those of the second row and see what comes out of it. " * 3
RESPONSES = [
    # gold answer, response, tokens
    ("144", "12 times 12 is 144. Wait, let me check. Alternatively, 10 times 12 plus 24 is 144: \\boxed{144}", 30),
    ("144", f"{LOOP}\\boxed{{145}}", 100),
    ("7", "So x = 7, or not? Hmm. \\boxed{8}", 12),
    ("7", "\\boxed{7}", 4),
    ("Suppose that n is even; then n squared is even too, as was to be shown.", "By parity. \\boxed{so}", 8),
]
BUDGETS = (10, 50, 200)
ANATOMY = (
    "select prompt_id, correct, cut, answer_appears, tokens_to_answer, tokens_after_answer, restarts, repeated_fraction "
    "from rollout_anatomy order by prompt_id"
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LACONIC_HOME", str(tmp_path / "home"))
    rows = [
        {"problem": f"{number}?", "prompt_id": f"p{number}", "gold": gold, "response": text, "num_tokens": tokens, "model": "m"}
        for number, (gold, text, tokens) in enumerate(RESPONSES)
    ]
    (tmp_path / "made.jsonl").write_text(
        "".join(json.dumps({**row, "benchmark": "made"}) + "\n" for row in rows), encoding="utf-8"
    )
    return tmp_path / "home"


def evaluated(home: Path, *changes: str) -> dict[str, Any]:
    changes = (f"budgets_tokens={list(BUDGETS)}", "bootstrap_resamples=20", *changes)
    return evaluate_recorded(recorded_config(str(home.parent / "made.jsonl"), overrides=list(changes)), Display())


def test_the_file_s_own_answers_are_looked_for_where_they_stand(home: Path) -> None:
    assert evaluated(home, "answer_from=last_number")["correct"] == 2
    answers = Store(home).query("select answer, grade_reason from rollouts order by prompt_id").rows
    assert answers == [("144", "correct"), ("145", "wrong"), ("8", "wrong"), ("7", "correct"), (None, "no_answer")]


def test_anatomy_of_recorded_rollouts(home: Path) -> None:
    done = evaluated(home, "prices.output_per_million_tokens=10")
    assert all(Path(done[name]).read_bytes().startswith(b"\x89PNG") for name in ("picture", "anatomy"))
    store = Store(home)
    found = store.query(ANATOMY).rows
    assert [row[:7] for row in found] == [
        ("p0", True, False, True, 6, 24, 2),
        ("p1", False, False, False, None, None, 0),
        ("p2", False, False, True, 3, 9, 1),
        ("p3", True, False, True, 4, 0, 0),
        ("p4", False, False, None, None, None, 0),
    ]
    assert [row[7] > 0.5 for row in found] == [False, True, False, False, False]

    by_budget = store.query(
        "select budget_tokens, correct, num_rollouts, mean_tokens, answer_appears_fraction, cut_fraction, cut_after_answer_fraction "
        "from anatomy_by_budget order by budget_tokens, correct"
    ).rows
    assert by_budget[:2] == [(10, False, 4, 9.5, 2 / 3, 0.75, 2 / 3), (10, True, 1, 4.0, 1.0, 0.0, 0.0)]
    assert by_budget[-1] == (200, True, 2, 17.0, 1.0, 0.0, 0.0)

    costs = store.query("select * exclude (run_id, model, step, benchmark) from cost_per_correct order by budget_tokens").rows
    assert costs == [
        (10, 1, pytest.approx(42), pytest.approx(0.42), "USD"),
        (50, 2, pytest.approx(52), pytest.approx(0.52), "USD"),
        (200, 2, pytest.approx(77), pytest.approx(0.77), "USD"),
    ], "what was cut at the budget is counted up to there"


def test_the_same_after_another_evaluation_and_compaction_and_without_the_columns(home: Path) -> None:
    run_id = evaluated(home)["run_id"]
    store = Store(home)
    first = store.query(ANATOMY).rows
    evaluated(home)
    assert store.query(ANATOMY).rows == first
    assert store.query("select any_value(currency), count(cost_per_1000_correct) from cost_per_correct").rows == [(None, 0)]
    store.compact(run_id, "evaluate", at_least=1)
    store.write_rollouts([], run_id, "evaluate", "empty")
    assert store.query(ANATOMY).rows == first
    # A file of a home that is older than the columns.
    [path] = (home / "rollouts" / run_id / "evaluate").glob("recorded-*.parquet")
    columns = ["num_prompt_tokens", "answer_appears", "tokens_to_answer", "restarts", "repeated_fraction"]
    pq.write_table(pq.read_table(path).drop_columns(columns), path)
    assert {row[3:] for row in store.query(ANATOMY).rows} == {(None,) * 5}
    assert store.named("anatomy_of_runs", run_ids=[run_id]) == []
    assert not list(compacted_folder(path.parent).glob("*"))


def test_hours_of_gpus_cost_at_the_speed_of_training(tmp_path: Path) -> None:
    one, _ = write_runs(tmp_path)
    store = Store(tmp_path)
    config = one.model_copy(update={"prices": PricesConfig(per_gpu_hour=7.2, currency="EUR")}).model_dump(mode="json")
    store.write("runs", [{"run_id": one.run_id, "name": "one", "status": "completed", "config": config}])
    store.write("training_steps", [{"run_id": one.run_id, "step": step, "tokens_per_second": 50.0} for step in range(1, 7)])
    for row in store.named("budget_table", run_ids=[one.run_id]):
        seconds = row["tokens_per_correct"] / 50.0
        assert row["tokens_per_correct"] == pytest.approx(row["mean_tokens"] / row["mean_at_k"])
        assert (row["cost_per_1000_correct"], row["currency"]) == (pytest.approx(1000 * seconds * 7.2 / 3600), "EUR")
