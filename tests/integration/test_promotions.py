"""Decisions about a champion, on a real MLflow registry and a real store: promoted, kept, rolled back, interrupted, refused."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_lib.config import PromptSource, RunConfig, TrackingConfig, load_config
from pipeline_lib.promotions.decisions import Decisions, evaluation_rollouts, tracking_of_model
from pipeline_lib.promotions.markdown import decision_page
from pipeline_lib.promotions.plan import plan_retraining, unseen_prompts
from pipeline_lib.records import CheckpointRecord, DifficultyEstimate, Promotion, Rollout
from pipeline_lib.runs.base_model import pinned, resolve_base_model
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages.opened import finish
from pipeline_lib.store.database import Store
from pipeline_lib.tracking import Registry, RegistryUnreachableError

NAME = "small"
OVERRIDES = [f"name={NAME}", "retrain.gate.resamples=200", "retrain.gate.budgets_tokens=[48,96]"]


@pytest.fixture(scope="module")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, made once: that takes seconds."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    folder = tmp_path_factory.mktemp("mlflow")
    Registry(TrackingConfig(), folder).aliases(NAME)
    return folder / "mlflow.db"


@pytest.fixture(autouse=True)
def _mlflow(home: Path, empty_mlflow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home.mkdir(parents=True)
    shutil.copy(empty_mlflow, home / "mlflow.db")


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home)


@pytest.fixture
def configured(configs: Path) -> Callable[..., RunConfig]:
    def load(*overrides: str) -> RunConfig:
        return load_config(configs / "smoke.toml", [*OVERRIDES, *overrides])

    return load


def write_evaluation(session: RunSession, step: int, tokens: int, wrong: int) -> None:
    """Rollouts of 60 prompts, of which the first `wrong` are answered wrongly, as the evaluate stage leaves them."""
    unit, fingerprint = f"step-{step:05d}/tiny-sum", f"{step:064d}"
    rollouts = [
        Rollout(
            *(session.run.run_id, "evaluate", step, "m", "tiny-sum", f"p{prompt}", 0, tokens + prompt % 3, "stop", None),
            *(prompt >= wrong, "", ""),
        )
        for prompt in range(60)
    ]
    session.store.write_rollouts(rollouts, session.run.run_id, "evaluate", f"tiny-sum-{step:05d}-{fingerprint[:12]}-0")
    session.ledger.record_stage("evaluate", unit, fingerprint, 1.0, {})


def finished(config: RunConfig, tokens: int, wrong: int = 10, base_tokens: int = 90) -> Run:
    """A run as its stages leave it: a registered checkpoint of step 6, and both models evaluated."""
    run = Run.of(config)
    session = RunSession(run)
    session.open("flow-1")
    model = run.checkpoints_folder() / "step-00006" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text('{"model_type": "qwen3"}')
    (model / "model.safetensors").write_bytes(run.run_id.encode())
    tags = {"laconic.run_id": run.run_id}
    version = session.tracker.register_model(model, config.registered_model, session.mlflow_run_id, tags=tags)
    assert version is not None
    path = str(model.parent)
    session.store.write("checkpoints", [CheckpointRecord(run.run_id, 6, path, True, None, version.name, version.version)])
    write_evaluation(session, 0, base_tokens, wrong=10)
    write_evaluation(session, 6, tokens, wrong)
    finish(session, "completed")
    return run


def decide(run: Run, kind: Any = "retrain") -> Promotion:
    with Decisions.opened(run.config.registered_model, Store(run.home), run.config.tracking) as decisions:
        return decisions.judge(run, kind, "flow-1")[0]


def roll_back(store: Store) -> Promotion:
    with Decisions.opened(NAME, store, tracking_of_model(NAME, store)) as decisions:
        return decisions.roll_back(None)


def aliases(home: Path) -> dict[str, int]:
    found = Registry(TrackingConfig(), home).aliases(NAME)
    return {alias: version for alias, version in found.items() if alias != "challenger"}


def promote_next(configured: Callable[..., RunConfig], version: int | None) -> Promotion:
    """One more generation, trained from a version, that the gate lets pass."""
    base = "builtin:tiny" if version is None else f"models:/{NAME}/{version}"
    made = decide(finished(configured(f"base_model={base}"), tokens=60 - (version or 0), base_tokens=90 - (version or 0)))
    assert made.decision == "promoted", made.reason
    return made


def test_the_first_champion_has_to_beat_the_base(home: Path, store: Store, configured: Callable[..., RunConfig]) -> None:
    run = finished(configured(), tokens=60)
    made = decide(run)
    assert (made.decision_id, made.decision, made.cause) == ("small/1", "promoted", "shorter")
    assert (made.champion_version, made.challenger_version, made.champion_after, made.previous_after) == (None, 1, 1, None)
    assert aliases(home) == {"champion": 1}
    row = store.named("promotions_of_model", model_name=NAME)[0]
    assert row["applied_at"] is not None and row["mlflow_run_id"] == store.named("run", run_id=run.run_id)[0]["mlflow_run_id"]
    assert (row["token_difference"], row["num_prompts"], row["prefect_flow_run_id"]) == (-30.0, 60, "flow-1")
    assert -0.34 < row["token_change_ci_low"] <= row["token_change"] <= row["token_change_ci_high"] < -0.32
    budgets = store.named("promotion_budgets", decision_id="small/1")
    assert [(each["budget_tokens"], each["challenger_accuracy"], each["passed"]) for each in budgets] == [
        (48, 0.0, True),
        (96, pytest.approx(50 / 60), True),
    ]


def test_a_repeated_decision_is_the_same_one(store: Store, configured: Callable[..., RunConfig]) -> None:
    run = finished(configured(), tokens=60)
    assert decide(run).decision_id == decide(run).decision_id == "small/1"
    assert len(store.named("promotions")) == 1


def test_a_worse_model_is_kept_out_and_the_page_says_why(home: Path, configured: Callable[..., RunConfig]) -> None:
    run = finished(configured(), tokens=60, wrong=40)
    with Decisions.opened(NAME, Store(run.home), run.config.tracking) as decisions:
        made, budgets = decisions.judge(run, "retrain", None)
    assert (made.decision, made.cause, made.champion_after) == ("kept", "worse", None)
    assert aliases(home) == {}
    page = decision_page(made, budgets)
    assert page.startswith(
        "# small: the champion is kept\n\nWorse: tiny-sum within 96 tokens 83.3 → 33.3 %, difference -50.0 \\["
    )
    assert "| tiny-sum | 96 | 83.3 | 33.3 | -50.0 |" in page and "**no** |" in page


def test_back_and_back_again(home: Path, store: Store, configured: Callable[..., RunConfig]) -> None:
    for version in (None, 1, 2):
        promote_next(configured, version)
    assert aliases(home) == {"champion": 3, "previous": 2}
    first = roll_back(store)
    assert (first.kind, first.decision, first.champion_version, first.champion_after) == ("rollback", "rolled_back", 3, 2)
    assert aliases(home) == {"champion": 2, "previous": 1}
    roll_back(store)
    assert aliases(home) == {"champion": 1}
    with pytest.raises(ValueError, match="there is nothing to go back to from version 1"):
        roll_back(store)
    # What was rolled back can be promoted by hand, by the gate: its base is the champion again.
    (second,) = [each for each in store.named("promotions") if each["number"] == 2]
    run = Run.stored(store.named("run", run_id=second["run_id"])[0])
    again = decide(run, "promote")
    assert (again.number, again.kind, again.decision) == (6, "promote", "promoted")
    assert aliases(home) == {"champion": 2, "previous": 1}
    assert [row["number"] for row in store.named("promotions")] == [1, 2, 3, 4, 5, 6]


def test_nothing_to_roll_back(store: Store) -> None:
    with pytest.raises(ValueError, match="model 'small' has no champion in the registry"):
        roll_back(store)


def test_only_what_was_compared_with_the_champion_is_promoted(home: Path, configured: Callable[..., RunConfig]) -> None:
    first = finished(configured(), tokens=60)
    other = finished(configured("seed=7"), tokens=50)
    decide(first)
    with pytest.raises(ValueError, match="compared with builtin:tiny, but the champion is version 1"):
        decide(other, "promote")
    with pytest.raises(ValueError, match="version 1 is the champion already"):
        decide(first, "promote")
    kept = decide(other)  # the champion changed while this one was trained
    assert (kept.decision, kept.cause, kept.champion_after) == ("kept", "champion_changed", 1)
    assert aliases(home) == {"champion": 1}


def test_what_is_missing_is_named(store: Store, configured: Callable[..., RunConfig]) -> None:
    run = Run.of(configured())
    RunSession(run).open(None)
    with pytest.raises(ValueError, match="has no version of 'small' in the registry .* repeat the retraining"):
        decide(run)
    run = finished(configured(), tokens=60)
    store.delete_rollout_files(run.run_id, "evaluate", keep_prefixes=["tiny-sum-00000-"])
    with pytest.raises(ValueError, match="the evaluation rollouts of step 6 of run .* are gone"):
        decide(run)
    store.replace("stage_results", {"run_id": run.run_id, "stage": "evaluate"}, [])
    with pytest.raises(ValueError, match="has no evaluation of step 0 on 'tiny-sum'"):
        decide(run)
    assert store.named("promotions") == []


def test_rollouts_of_a_benchmark_with_an_old_name_are_found(store: Store, configured: Callable[..., RunConfig]) -> None:
    """What an earlier version stored under a name that is no name today, and that a glob would take for a pattern."""
    run = Run.of(configured())
    rollouts = [Rollout(run.run_id, "evaluate", 0, "m", "tiny[1]*", "p", 0, 9, "stop", None, True, "", "")]
    store.write_rollouts(rollouts, run.run_id, "evaluate", f"tiny[1]*-00000-{'0' * 12}-00000-of-00001")
    store.write_rollouts([], run.run_id, "evaluate", f"tiny1x-00000-{'0' * 12}-00000-of-00001")
    RunSession(run).ledger.record_stage("evaluate", "step-00000/tiny[1]*", "0" * 64, 1.0, {})
    assert evaluation_rollouts(store, run, 0, ["tiny[1]*"]) == {"tiny[1]*": rollouts}


def test_a_model_from_the_command_line_leads_to_no_file_outside(store: Store) -> None:
    for name in ("x/../../../outside", "", "it's"):
        with (
            pytest.raises(ValueError, match="is no name of a registered model"),
            Decisions.opened(name, store, TrackingConfig()),
        ):
            pass
    assert not list(store.home.parent.rglob("outside*"))


def test_a_base_that_another_run_evaluated_counts(configured: Callable[..., RunConfig]) -> None:
    owner = finished(configured(), tokens=60)
    sharing = finished(configured("seed=1"), tokens=50)
    session = RunSession(sharing)
    session.store.delete_rollout_files(sharing.run_id, "evaluate", keep_prefixes=["tiny-sum-00006-"])
    session.ledger.record_stage("evaluate", "step-00000/tiny-sum", f"{0:064d}", 0.0, {}, reused_from=owner.run_id)
    assert decide(sharing).decision == "promoted"


@pytest.mark.parametrize("moved", [{}, {"previous": 1}, {"previous": 1, "champion": 2}])
def test_a_crash_between_row_and_aliases_converges(
    moved: dict[str, int], home: Path, store: Store, configured: Callable[..., RunConfig]
) -> None:
    """Wherever between the row and the last alias it was cut, the next command for the model ends what the row says."""
    promote_next(configured, None)
    made = promote_next(configured, 1)
    store.write("promotions", [replace(made, applied_at=None)])
    registry = Registry(TrackingConfig(), home)
    registry.move_aliases(NAME, {"previous": None, "champion": 1, **moved})
    with Decisions.opened(NAME, store, TrackingConfig()) as decisions:
        reconciled = decisions.reconcile()
        assert reconciled is not None and reconciled.decision_id == made.decision_id
        assert decisions.reconcile() is None
    assert aliases(home) == {"champion": 2, "previous": 1}
    assert len(store.named("promotions")) == 2


def test_out_of_reach_nothing_is_decided(store: Store, configured: Callable[..., RunConfig]) -> None:
    run = finished(configured(), tokens=60)
    away = run.config.model_copy(update={"tracking": TrackingConfig(uri="http://127.0.0.1:9", timeout_seconds=1.0)})
    lost = Run.of(away)
    assert lost.run_id == run.run_id
    with pytest.raises(RegistryUnreachableError, match="the model registry at http://127.0.0.1:9"):
        decide(lost)
    assert store.named("promotions") == [] and store.named("promotion_budgets", decision_id="small/1") == []
    with pytest.raises(ValueError, match="tracking.enabled = false"):
        Registry(TrackingConfig(enabled=False), store.home)


def test_a_registered_version_is_a_base_model(home: Path, configured: Callable[..., RunConfig]) -> None:
    decide(finished(configured(), tokens=60))
    by_alias = configured(f"base_model=models:/{NAME}@champion")
    definite = pinned(by_alias)
    assert definite.base_model == f"models:/{NAME}/1"
    assert definite.run_id != by_alias.run_id
    base = resolve_base_model(definite)
    assert (base.label, resolve_base_model(by_alias)) == (f"models:/{NAME}/1", base)
    assert Path(base.location).is_relative_to(home / "mlartifacts"), "MLflow has the files here: no copy"
    assert (Path(base.location) / "config.json").is_file()
    for base_model, words in (
        (f"models:/{NAME}/7", r"models:/small/7: no such version in the registry at sqlite.*; there are 1$"),
        ("models:/other/1", "it has no model 'other'"),
        (f"models:/{NAME}@previous", r"no such alias in the registry .*; there is @challenger \(version 1\), @champion"),
        ("models:/small", "neither models:/NAME/VERSION nor models:/NAME@ALIAS"),
    ):
        with pytest.raises(ValueError, match=words):
            resolve_base_model(configured(f"base_model={base_model}"))


def test_the_next_retraining_is_definite(store: Store, configured: Callable[..., RunConfig]) -> None:
    config = configured("seed=5", "evaluate.checkpoints=last")
    first = plan_retraining(config, None, store)
    assert first.config is not None
    assert (first.base_model, first.config.seed, first.config.prompts) == ("builtin:tiny", 5, config.prompts)
    assert first.config.evaluate.checkpoints == "best_and_last"
    assert plan_retraining(config, None, store) == first, "not decided yet, so it is taken up"
    with Decisions.opened(NAME, store, config.tracking) as decisions:
        decisions.keep_without_prompts(first, "flow-1")
    second = plan_retraining(config, 4, store)
    assert second.config is not None
    assert (second.config.base_model, second.config.seed) == (f"models:/{NAME}/4", 6)
    another = plan_retraining(configured("seed=5", "retrain.prompts=new"), 4, store)
    assert another.config is not None and another.config.prompts.seed == config.prompts.seed + 1
    controlled = configured("control.enabled=true", "control.rollout_limit_tokens=192")
    planned = plan_retraining(controlled, None, store).config
    assert planned is not None and not planned.control.enabled
    without = load_config(Path("configs/smoke.toml").resolve())
    with pytest.raises(ValueError, match=r"smoke has no section \[retrain\]"):
        plan_retraining(without, None, store)


def test_new_prompts_are_those_that_no_run_of_the_model_has_profiled(
    home: Path, store: Store, configured: Callable[..., RunConfig]
) -> None:
    path = home / "problems.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(f'{{"problem": "{number} + 1", "answer": "{number + 1}", "key": "k{number}"}}\n' for number in range(6))
    )
    source = f'{{name="sums", kind="file", path="{path}", id_field="key", num_prompts=4}}'
    config = configured(f"prompts={source}", "retrain.prompts=new")

    def profile(run: RunConfig, *numbers: int) -> None:
        store.write("runs", [{"run_id": run.run_id, "name": run.name, "config": run.model_dump(mode="json")}])
        store.write("difficulty", [DifficultyEstimate(run.run_id, f"k{number}", 4, 2, 0.5, 9.0) for number in numbers])

    first = plan_retraining(config, None, store).config
    assert first is not None
    profile(first, 0, 1, 2, 3)
    assert plan_retraining(config, None, store).config == first, "interrupted: its own profile does not count"
    with Decisions.opened(NAME, store, config.tracking) as decisions:
        decisions.keep_without_prompts(plan_retraining(config, None, store), None)
    second = plan_retraining(config, None, store).config
    assert second is not None and second.prompts.path is not None and second.prompts.num_prompts is None
    assert [row["key"] for row in pq.read_table(second.prompts.path).to_pylist()] == ["k4", "k5"]
    profile(second, 4, 5)
    with Decisions.opened(NAME, store, config.tracking) as decisions:
        decisions.keep_without_prompts(plan_retraining(config, None, store), None)
        nothing = plan_retraining(config, None, store)
        assert nothing.config is None
        kept = decisions.keep_without_prompts(nothing, None)
    assert (kept.decision, kept.cause, kept.run_id) == ("kept", "no_new_prompts", None)
    elsewhere = plan_retraining(config.model_copy(update={"name": "another"}), None, store).config
    assert elsewhere is not None and elsewhere.prompts == config.prompts


def test_rows_of_code_problems_stay_as_they_are(tmp_path: Path) -> None:
    rows = [{"id": f"c{number}", "statement": f"s{number}", "tests": [{"a": [1, 2]}], "rate": 0.5} for number in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "all.parquet")
    source = PromptSource(
        name="code",
        kind="file",
        path=str(tmp_path / "all.parquet"),
        problem_field="statement",
        answer_field="rate",
        id_field="id",
        num_prompts=1,
        num_problems=3,
    )
    left = unseen_prompts(source, {"c1"}, tmp_path / "new" / "0001.parquet")
    assert left is not None
    assert (left.num_prompts, left.num_problems, left.problem_field) == (1, None, "statement")
    assert pq.read_table(str(left.path)).to_pylist() == [rows[0], rows[2]]


def test_flows_show_what_was_decided(
    prefect_server: None, home: Path, store: Store, configured: Callable[..., RunConfig]
) -> None:
    from prefect.client.orchestration import get_client

    from flows.retraining import run_promotion, run_rollback

    run = finished(configured(), tokens=60)
    session = RunSession(run)
    session.open("flow-2")
    with pytest.raises(ValueError, match="is running: only a completed training can become the champion"):
        run_promotion(run.run_id)
    finish(session, "completed")
    done = run_promotion(run.run_id)
    assert (done["decision"], done["champion"], done["run_id"]) == ("promoted", 1, run.run_id)
    with pytest.raises(ValueError, match="there is nothing to go back to from version 1"):
        run_rollback(NAME)
    with pytest.raises(ValueError, match="no run 'smal-1'"):
        run_promotion("smal-1")
    promote_next(configured, 1)
    assert run_rollback(NAME)["champion"] == 1
    with get_client(sync_client=True) as client:
        shown = [(artifact.key, str(artifact.data)) for artifact in client.read_artifacts()]
    assert any(key == "small-decision" and data.startswith("# small: rolled back") for key, data in shown)
    assert any(key == "small-gate" and '"budget_tokens": 48' in data for key, data in shown)
