"""Pass rates and rollouts from elsewhere, and real problems, through the flows, the store and the grader."""

import json
import os
from pathlib import Path

import pytest

from pipeline_lib.config import load_config, recorded_config
from pipeline_lib.runs.run import Run
from pipeline_lib.stages.profile import imported_profile
from pipeline_lib.store.database import Store

DATA = Path(os.environ.get("LACONIC_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def rows(home: Path, query: str) -> list[dict[str, object]]:
    result = Store(home).query(query)
    return [dict(zip(result.columns, row, strict=True)) for row in result.rows]


def write(path: Path, records: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def source(path: Path, name: str, extra: str = "") -> str:
    return f'{{name = "{name}", kind = "file", path = "{path}", id_field = "id"{extra}}}'


@pytest.mark.usefixtures("prefect_server")
def test_recorded_pass_rates_are_filtered_without_a_profile_or_model(home: Path, configs: Path, tmp_path: Path) -> None:
    from flows.stages import run_filter

    problems = [
        {"id": "easy", "problem": "What is one plus one?", "answer": "2", "tried": 10},
        {"id": "hard", "problem": "What is the millionth prime?", "answer": "15485863", "tried": 100},
        {"id": "again", "problem": "what is one plus one", "answer": "2", "tried": 10},
        {"id": "seen", "problem": "What is two plus two?", "answer": "4", "tried": 0},
    ]
    bench = write(tmp_path / "bench.jsonl", [{"id": "b1", "problem": "What is two  plus two?", "answer": "4"}])
    scale = ', pass_rate_field = "tried", pass_rate_scale = "failure_percent", pass_rate_tries = 128'
    overrides = [
        f"prompts={source(write(tmp_path / 'train.jsonl', problems), 'own', scale)}",
        f"evaluate.benchmarks=[{source(bench, 'bench')}]",
        "profile.origin=recorded",
        "generation.max_prompt_tokens=1024",
    ]
    (summary,) = run_filter(str(configs / "smoke.toml"), overrides=overrides)
    assert (summary["num_selected"], summary["num_cleaned_out"], summary["num_hard"]) == (1, 2, 1)
    found = rows(home, "select prompt_id, selected, cause, subset from selections order by prompt_id")
    assert found == [
        {"prompt_id": "again", "selected": False, "cause": "normalised_duplicate", "subset": "easy"},
        {"prompt_id": "easy", "selected": True, "cause": "pass_rate", "subset": "easy"},
        {"prompt_id": "hard", "selected": False, "cause": "pass_rate", "subset": "hard"},
        {"prompt_id": "seen", "selected": False, "cause": "benchmark_text", "subset": "easy"},
    ]
    (easy,) = rows(home, "select pass_rate, num_rollouts, num_correct, mean_tokens from difficulty where prompt_id = 'easy'")
    assert easy == {"pass_rate": pytest.approx(0.9), "num_rollouts": 128, "num_correct": 115, "mean_tokens": None}
    assert run_filter(str(configs / "smoke.toml"), overrides=overrides)[0]["skipped"]


@pytest.mark.usefixtures("prefect_server")
def test_imported_rollouts_are_judged_into_pass_rates(home: Path, configs: Path, tmp_path: Path) -> None:
    from flows.stages import run_filter, run_profile

    train = write(tmp_path / "train.jsonl", [{"id": "p", "problem": "What is 1/2 + 1/4?", "answer": "3/4"}])
    answers = ["\\boxed{0.75}", "\\boxed{\\frac{3}{4}}", "\\boxed{1}", "three quarters"]
    made = [{"problem": "What is 1/2 + 1/4?", "response": text, "tokens": 10 * n} for n, text in enumerate(answers, start=1)]
    made.append({"problem": "another", "response": "x", "tokens": 1})
    rollouts = write(tmp_path / "made.jsonl", made)
    overrides = [
        f"prompts={source(train, 'own')}",
        "filter.subset=hard",
        'profile.origin="imported"',
        f'profile.rollouts_file="{rollouts}"',
    ]
    (summary,) = run_profile(str(configs / "smoke.toml"), overrides=overrides)
    assert (summary["rollouts"], summary["of_other_problems"], summary["mean_pass_rate"]) == (4, 1, 0.5)
    assert rows(home, "select num_rollouts, num_correct, mean_tokens from difficulty") == [
        {"num_rollouts": 4, "num_correct": 2, "mean_tokens": 25.0}
    ]
    reasons = rows(home, "select grade_reason, count(*) n from rollouts where stage = 'profile' group by all order by all")
    assert [(row["grade_reason"], row["n"]) for row in reasons] == [("correct", 2), ("no_answer", 1), ("wrong", 1)]
    # The same configuration without a word of the rollouts goes on from their profile, until it has one of its own.
    plain = load_config(str(configs / "smoke.toml"), overrides[:2])
    assert imported_profile(Run.of(plain)) == overrides[2:]
    assert imported_profile(Run.of(load_config(str(configs / "smoke.toml"), [overrides[0], "seed=7"]))) == []
    assert imported_profile(Run.of(load_config(str(configs / "smoke.toml"), overrides))) == []
    (filtered,) = run_filter(str(configs / "smoke.toml"), overrides=overrides[:2])
    assert filtered["num_selected"] == 1
    write(rollouts, made[:2])
    (summary,) = run_profile(str(configs / "smoke.toml"), overrides=overrides)
    assert summary["mean_pass_rate"] == 1.0  # other content, other profile


@pytest.mark.usefixtures("prefect_server")
def test_recorded_rollouts_give_a_budget_sweep(home: Path, tmp_path: Path) -> None:
    from flows.recorded import run_recorded_evaluation

    made = [
        {"problem": f"{n}+1", "response": f"\\boxed{{{n + 1 if n < good else 0}}}", "tokens": 100 * n, "model": model}
        | {"dataset": "sums", "answer": str(n + 1)}
        for model, good in (("brief", 4), ("lost [v1]", 2))
        for n in range(1, 6)
    ]
    path = write(tmp_path / "made.jsonl", [*made, made[0] | {"answer": ""}])
    config = recorded_config(str(path), overrides=["budgets_tokens=[150, 1000]", "name=made"])
    result = run_recorded_evaluation(config)
    assert (result["rollouts"], result["without_gold_answer"], result["correct"]) == (10, 1, 4)
    assert Path(result["picture"]).stat().st_size > 10_000
    points = rows(home, "select model, budget_tokens, mean_at_k, num_prompts from budget_results order by all")
    assert [tuple(point.values()) for point in points] == [
        ("brief", 150, 0.2, 5),
        ("brief", 1000, 0.6, 5),
        ("lost [v1]", 150, 0.2, 5),
        ("lost [v1]", 1000, 0.2, 5),
    ]
    assert run_recorded_evaluation(config)["run_id"] == result["run_id"]
    assert rows(home, "select count(*) n, count(distinct run_id) r from rollouts") == [{"n": 10, "r": 1}]
    with pytest.raises(ValueError, match="only_models: .* holds no nobody; it holds brief, lost"):
        run_recorded_evaluation(config.model_copy(update={"only_models": ("nobody",)}))


@pytest.mark.usefixtures("prefect_server")
def test_real_problems_go_through_the_whole_machinery(home: Path, configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading, prompting, generating, grading, storing; the tiny model's answers to them are wrong."""
    from flows.stages import run_evaluate, run_profile

    if not (DATA / "math500.parquet").exists() or not (DATA / "aime25.parquet").exists():
        pytest.skip("math500.parquet and aime25.parquet do not lie in the folder of local copies (LACONIC_DATA)")
    monkeypatch.setenv("LACONIC_DATA", str(DATA))
    overrides = [
        "generation.engine=transformers",
        "prompts.num_prompts=6",
        "profile.rollout_limit_tokens=24",
        "evaluate.benchmarks.0.num_prompts=4",
        "evaluate.benchmarks.1.num_prompts=4",
        "evaluate.budgets_tokens=[12, 24]",
    ]
    real = str(configs / "tiny-real.toml")
    (profiled,) = run_profile(real, overrides=overrides)
    assert profiled["rollouts"] == 12
    assert run_evaluate(real, overrides=overrides) == {"evaluated": 2, "skipped": 0}
    assert rows(home, "select benchmark, budget_tokens, num_prompts from budget_results order by all") == [
        {"benchmark": name, "budget_tokens": budget, "num_prompts": 4} for name in ("aime25", "math500") for budget in (12, 24)
    ]
    judged = rows(
        home,
        "select stage, bool_or(correct) any_right, count(distinct text) > 1 varied from rollouts group by stage order by 1",
    )
    assert [row["stage"] for row in judged] == ["evaluate", "profile"]
    assert all(row["varied"] for row in judged)
    assert load_config(real, overrides).prompts.user_suffix.endswith("\\boxed{}")
