"""The store on real DuckDB: schema, idempotent writes, queries, refusals, export."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline_lib.records import (
    BudgetPoint,
    CheckpointRecord,
    DifficultyEstimate,
    Prompt,
    Rollout,
    Selection,
    StageResult,
    TrainingStep,
)
from pipeline_lib.store.connections import connect
from pipeline_lib.store.database import Store
from pipeline_lib.store.migrate import Migration, load_migrations, migrate
from pipeline_lib.store.schema_docs import render_schema

TEXT, WHOLE, REAL, TRUTH, TIME, TREE = (
    "VARCHAR",
    "INTEGER",
    "DOUBLE",
    "BOOLEAN",
    "TIMESTAMP WITH TIME ZONE",
    "JSON",
)

# What users rely on: every table and view with its columns and their types.
CONTRACT: dict[str, dict[str, tuple[str, ...]]] = {
    "runs": {
        TEXT: (
            "run_id",
            "name",
            "git_commit",
            "status",
            "prefect_flow_run_id",
            "mlflow_run_id",
            "base_model",
            "control_of",
            "error",
        ),
        TREE: ("config",),
        TIME: ("started_at", "finished_at"),
    },
    "prompts": {TEXT: ("prompt_id", "source", "domain", "problem", "answer", "tests"), REAL: ("tolerance",)},
    "rollouts": {
        TEXT: (
            "run_id",
            "stage",
            "model",
            "prompt_id",
            "finish_reason",
            "answer",
            "text",
            "rollout_id",
            "source",
            "grade_reason",
        ),
        WHOLE: ("step", "sample_index", "num_tokens", "policy_lag", "policy_version"),
        TRUTH: ("correct", "masked"),
        REAL: ("reward", "advantage", "mean_logprob"),
    },
    "difficulty": {
        TEXT: ("run_id", "prompt_id"),
        WHOLE: ("num_rollouts", "num_correct", "num_answered"),
        REAL: ("pass_rate", "mean_tokens"),
    },
    "selections": {
        TEXT: ("run_id", "prompt_id", "subset", "reason", "cause"),
        TRUTH: ("selected",),
    },
    "training_steps": {
        TEXT: ("run_id",),
        WHOLE: (
            *("step", "optimizer_steps", "num_rollouts"),
            *("batch_optimizer_steps", "largest_policy_lag", "batches_drawn"),
        ),
        REAL: (
            *(
                "reward_mean",
                "accuracy",
                "mean_tokens",
                "mean_tokens_correct",
                "mean_tokens_incorrect",
                "entropy",
            ),
            *(
                "truncated_fraction",
                "positive_fraction",
                "zero_variance_fraction",
                "kl",
                "grad_norm",
                "tokens_per_second",
            ),
            *(
                "generation_seconds",
                "update_seconds",
                "sync_seconds",
                "other_seconds",
                "checkpoint_seconds",
                "logprob_gap",
            ),
            *(
                "loss",
                "clip_fraction",
                "learning_rate",
                "policy_lag",
                "validation_accuracy",
                "validation_mean_tokens",
            ),
            *("target_tokens", "masked_fraction", "engine_ratio_capped_fraction", "validation_full_accuracy"),
            *("logprob_gap_mean", "logprob_gap_k3", "logprob_gap_p999", "engine_ratio_outside_fraction", "answered_fraction"),
        ),
    },
    "checkpoints": {
        TEXT: ("run_id", "path", "model_name"),
        WHOLE: ("step", "model_version"),
        TRUTH: ("is_best",),
        REAL: ("validation_accuracy",),
    },
    "budget_results": {
        TEXT: ("run_id", "model", "benchmark"),
        WHOLE: ("step", "budget_tokens", "num_prompts", "num_samples"),
        REAL: (
            *("mean_at_k", "pass_at_k", "ci_low", "ci_high"),
            *(
                "mean_tokens",
                "mean_tokens_correct",
                "mean_tokens_incorrect",
                "truncated_fraction",
                "answered_fraction",
            ),
        ),
    },
    "answers_found": {
        TEXT: ("run_id", "stage", "benchmark"),
        WHOLE: ("step", "budget_tokens"),
        REAL: ("answered_fraction", "accuracy"),
    },
    "fleet_events": {
        TEXT: ("run_id", "actor", "node", "kind", "version", "reason"),
        WHOLE: ("batch",),
        REAL: ("seconds",),
        TIME: ("happened_at",),
    },
    "fleet_shares": {
        TEXT: ("run_id", "actor"),
        WHOLE: ("batch",),
        REAL: (*("seconds", "busy_seconds", "generation_seconds", "weights_seconds", "update_seconds", "checkpoint_seconds"),),
        TIME: ("step_began_at", "step_ended_at"),
    },
    "run_events": {TEXT: ("run_id", "kind", "stage", "reason"), WHOLE: ("done",), TIME: ("happened_at",)},
    "alarms": {
        TEXT: ("run_id", "kind", "action"),
        WHOLE: ("step",),
        REAL: ("value", "threshold"),
    },
    "stage_results": {
        TEXT: ("run_id", "stage", "unit", "fingerprint", "reused_from"),
        REAL: ("seconds",),
        TREE: ("summary",),
        TIME: ("recorded_at",),
    },
    "phases": {
        TEXT: ("run_id", "phase"),
        WHOLE: ("first_step", "last_step"),
        REAL: (
            *("mean_tokens_first", "mean_tokens_last", "accuracy_first", "accuracy_last"),
            *("entropy_first", "entropy_last"),
        ),
    },
    "experiments": {
        TEXT: ("experiment", "arm", "run_id", "finding", "label", "status"),
        WHOLE: ("seed", "position"),
        REAL: ("seconds",),
        TREE: ("settings",),
        TIME: ("recorded_at",),
    },
    "experiment_metrics": {TEXT: ("experiment", "arm", "metric"), WHOLE: ("seed",), REAL: ("value",)},
    "promotions": {
        TEXT: (
            *("decision_id", "model_name", "kind", "decision", "cause", "reason", "run_id", "base_model"),
            *("prefect_flow_run_id", "mlflow_run_id"),
        ),
        WHOLE: (
            *("number", "champion_version", "challenger_version", "challenger_step"),
            *("champion_after", "previous_after", "num_prompts"),
        ),
        REAL: (
            *("accuracy_margin", "confidence"),
            *("token_difference", "token_ci_low", "token_ci_high"),
            *("token_change", "token_change_ci_low", "token_change_ci_high"),
            *("accuracy_difference", "accuracy_ci_low", "accuracy_ci_high"),
        ),
        TIME: ("decided_at", "applied_at"),
    },
    "promotion_budgets": {
        TEXT: ("decision_id", "benchmark"),
        WHOLE: ("budget_tokens", "num_prompts"),
        REAL: ("champion_accuracy", "challenger_accuracy", "difference", "ci_low", "ci_high"),
        TRUTH: ("passed",),
    },
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, lock_wait_seconds=20.0)


def make_rollout(**changes: object) -> Rollout:
    values: dict[str, object] = {
        "run_id": "a",
        "stage": "profile",
        "step": 0,
        "model": "base",
        "source": "sums",
        "prompt_id": "p1",
        "sample_index": 0,
        "num_tokens": 10,
        "finish_reason": "stop",
        "answer": "2",
        "correct": True,
        "grade_reason": "correct",
        "text": "1 + 1 = 2",
    }
    return Rollout(**(values | changes))  # type: ignore[arg-type]


def make_step(step: int, run_id: str = "a") -> TrainingStep:
    reals = dict.fromkeys(CONTRACT["training_steps"][REAL], 0.5)
    return TrainingStep(run_id=run_id, step=step, optimizer_steps=step, num_rollouts=8, **reals)


def make_point(budget_tokens: int, step: int = 0, run_id: str = "a") -> BudgetPoint:
    return BudgetPoint(
        run_id=run_id,
        model="base" if step == 0 else "final",
        step=step,
        benchmark="sums",
        budget_tokens=budget_tokens,
        num_prompts=10,
        num_samples=4,
        mean_at_k=0.5,
        pass_at_k=0.75,
        ci_low=0.4,
        ci_high=0.6,
        mean_tokens=20.0,
        mean_tokens_correct=15.0,
        mean_tokens_incorrect=None,
        truncated_fraction=0.1,
    )


def test_schema_holds_every_column_of_the_contract(store: Store) -> None:
    schema = store.schema()
    assert set(schema) == {*CONTRACT, "schema_version"}
    for table, columns_by_type in CONTRACT.items():
        expected = {column: column_type for column_type, columns in columns_by_type.items() for column in columns}
        assert dict(schema[table].types) == expected, table


def test_every_table_and_column_is_commented(store: Store) -> None:
    for table in store.schema().values():
        assert table.comment, table.name
        assert [column.name for column in table.columns if not column.comment] == [], table.name
        assert bool(table.key) == (table.kind == "table")


def test_migrations_run_once(store: Store) -> None:
    names = [migration.name for migration in load_migrations()]
    first = store.query("SELECT version, name, applied_at FROM schema_version ORDER BY version").rows
    assert [(version, name) for version, name, _ in first] == list(enumerate(names, start=1))
    again = Store(store.home)
    again.write("prompts", [Prompt("p1", "sums", "math", "1 + 1", "2")])
    assert again.query("SELECT version, name, applied_at FROM schema_version ORDER BY version").rows == first


def test_older_store_is_brought_up_to_date(tmp_path: Path) -> None:
    store = Store(tmp_path / "new")
    expected = store.schema()
    older = Store(tmp_path / "old")
    older.rollouts_folder.mkdir(parents=True)
    with connect(older.path, read_only=False, wait_seconds=1) as connection:
        for migration in load_migrations()[:2]:
            connection.execute(migration.sql)
            connection.execute(
                "INSERT INTO schema_version (version, name) VALUES (?, ?)",
                [migration.version, migration.name],
            )
        connection.execute("INSERT INTO prompts VALUES ('p1', 'sums', 'math', '1 + 1', '2')")
    assert older.schema() == expected
    assert older.query("SELECT prompt_id FROM prompts").rows == [("p1",)]


def test_failing_migration_leaves_nothing_behind(store: Store) -> None:
    before = store.schema()
    broken = Migration(
        len(load_migrations()) + 1,
        "broken.sql",
        "CREATE TABLE half (a INTEGER); INSERT INTO nowhere VALUES (1);",
    )
    with (
        pytest.raises(Exception, match="nowhere"),
        connect(store.path, read_only=False, wait_seconds=1) as connection,
    ):
        migrate(connection, [*load_migrations(), broken], store.rollouts_folder)
    assert store.schema() == before
    assert store.query("SELECT max(version) FROM schema_version").rows == [(len(load_migrations()),)]


def test_store_of_a_newer_version_is_refused(store: Store) -> None:
    store.schema()
    with connect(store.path, read_only=False, wait_seconds=1) as connection:
        connection.execute("INSERT INTO schema_version (version, name) VALUES (999, 'later.sql')")
    with pytest.raises(ValueError, match="schema version 999"):
        Store(store.home).schema()


@pytest.mark.parametrize(
    ("table", "record"),
    [
        ("prompts", Prompt("p1", "sums", "math", "1 + 1", "2")),
        ("difficulty", DifficultyEstimate("a", "p1", 8, 6, 0.75, 12.5)),
        ("selections", Selection("a", "p1", "easy", True, "pass rate 0.75 > 0.5")),
        ("training_steps", make_step(1)),
        (
            "checkpoints",
            CheckpointRecord("a", 2, "/checkpoints/2", True, 0.9, "tiny", 3),
        ),
        ("budget_results", make_point(48)),
    ],
)
def test_record_comes_back_as_written_and_once(store: Store, table: str, record: object) -> None:
    assert store.write(table, [record]) == 1
    assert store.write(table, [record]) == 1
    result = store.query(f"SELECT * FROM {table}")
    assert [type(record)(**dict(zip(result.columns, row, strict=True))) for row in result.rows] == [record]


def test_partial_rows_update_only_what_they_give(store: Store) -> None:
    started = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    store.write(
        "runs",
        [{"run_id": "a", "name": "demo", "config": {"seed": 7}, "started_at": started}],
    )
    store.write(
        "runs",
        [
            {"run_id": "a", "status": "failed", "error": "disk full"},
            {"run_id": "a", "mlflow_run_id": "m1"},
        ],
    )
    result = store.query("SELECT name, status, error, mlflow_run_id, config->>'seed', started_at, git_commit FROM runs")
    assert result.rows == [
        (
            "demo",
            "failed",
            "disk full",
            "m1",
            "7",
            datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC),
            None,
        )
    ]


def test_last_row_of_a_key_wins(store: Store) -> None:
    assert (
        store.write(
            "difficulty",
            [DifficultyEstimate("a", "p1", 8, n, n / 8, 1.0) for n in (1, 2, 3)],
        )
        == 1
    )
    assert store.query("SELECT num_correct FROM difficulty").rows == [(3,)]


def test_failing_write_changes_nothing(store: Store) -> None:
    store.write("runs", [{"run_id": "a", "name": "demo"}])
    with pytest.raises(ValueError, match="runs refuses a row: .*CHECK"):
        store.write(
            "runs",
            [{"run_id": "b", "name": "demo"}, {"run_id": "a", "status": "sleeping"}],
        )
    assert store.query("SELECT run_id, status FROM runs").rows == [("a", "running")]


@pytest.mark.parametrize(
    ("table", "row", "message"),
    [
        ("prompt", {"prompt_id": "p"}, "no table 'prompt'; there are .*prompts"),
        ("rollouts", {"run_id": "a"}, "write_rollouts"),
        (
            "prompts",
            {"prompt_id": "p", "source": "s", "colour": "red"},
            "prompts has no column colour",
        ),
        (
            "prompts",
            {"prompt_id": "p", "domain": "math"},
            r"lacks source; its key is \(prompt_id, source\)",
        ),
        (
            "checkpoints",
            {"run_id": "a", "step": "two"},
            "checkpoints.step takes INTEGER",
        ),
        (
            "runs",
            {"run_id": "a", "status": "completed"},
            r"NOT NULL constraint failed: runs\.\"?name",
        ),
        (
            "runs",
            {"run_id": "a", "name": "n", "started_at": datetime(2026, 1, 1)},
            "no time zone",
        ),
        (
            "stage_results",
            {"run_id": "a", "stage": "s", "unit": "", "summary": {"x": float("nan")}},
            "summary takes JSON",
        ),
    ],
)
def test_wrong_rows_are_refused(store: Store, table: str, row: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        store.write(table, [row])


def test_replace_swaps_the_matching_rows_only(store: Store) -> None:
    store.write(
        "difficulty",
        [DifficultyEstimate(run, prompt, 8, 4, 0.5, 1.0) for run in "ab" for prompt in ("p1", "p2", "p3")],
    )
    assert (
        store.replace(
            "difficulty",
            {"run_id": "a"},
            [DifficultyEstimate("a", p, 8, 8, 1.0, 1.0) for p in ("p3", "p4")],
        )
        == 2
    )
    rows = store.query("SELECT run_id, prompt_id, num_correct FROM difficulty ORDER BY ALL").rows
    assert rows == [
        ("a", "p3", 8),
        ("a", "p4", 8),
        ("b", "p1", 4),
        ("b", "p2", 4),
        ("b", "p3", 4),
    ]
    with pytest.raises(ValueError, match="delete the whole table"):
        store.replace("difficulty", {}, [])


def test_copy_rows_changes_the_run_only(store: Store) -> None:
    store.write("budget_results", [make_point(48, step=step) for step in (0, 5)])
    assert store.copy_rows("budget_results", "a", "b", {"step": 0}) == 1
    assert store.copy_rows("budget_results", "a", "b", {"step": 0}) == 1
    rows = store.query("SELECT run_id, step, mean_at_k, num_prompts FROM budget_results ORDER BY ALL").rows
    assert rows == [("a", 0, 0.5, 10), ("a", 5, 0.5, 10), ("b", 0, 0.5, 10)]


def test_hundred_thousand_rows_take_seconds(store: Store) -> None:
    prompts = [Prompt(f"p{index}", "sums", "math", "1 + 1", "2") for index in range(100_000)]
    started = datetime.now()
    assert store.write("prompts", prompts) == 100_000
    # About 1 s alone on a machine; row by row it would be minutes.
    assert (datetime.now() - started).total_seconds() < 30
    assert store.query("SELECT count(*) FROM prompts").rows == [(100_000,)]


def test_rollouts_are_one_query_away(store: Store) -> None:
    assert store.query("SELECT count(*) FROM rollouts").rows == [(0,)]
    profile = [make_rollout(sample_index=index, num_tokens=10 * (index + 1), correct=index < 3) for index in range(4)]
    path = store.write_rollouts(profile, "a", "profile", "shard-0")
    assert path == store.home / "rollouts/a/profile/shard-0.parquet"
    store.write_rollouts(profile, "a", "profile", "shard-0")
    store.write_rollouts(
        [make_rollout(stage="train", step=3, reward=1.0, advantage=-0.5)],
        "a",
        "train",
        "step-3",
    )
    result = store.query(
        "select stage, count(*), avg(num_tokens), avg(correct::int) from rollouts group by stage order by stage"
    )
    assert result.rows == [("profile", 4, 25.0, 0.75), ("train", 1, 10.0, 1.0)]
    assert store.query("SELECT rollout_id FROM rollouts WHERE reward = 1").rows == [("a/train/base-3/p1/0",)]
    store.delete_rollout_files("a", "profile")
    assert store.query("SELECT stage, advantage FROM rollouts").rows == [("train", -0.5)]


def test_paths_outside_the_home_are_refused(store: Store) -> None:
    for run_id, name in (("../a", "x"), ("a", "b/c"), ("a", ".hidden"), ("", "x")):
        with pytest.raises(ValueError, match="cannot name a file"):
            store.write_rollouts([], run_id, "train", name)
    with pytest.raises(ValueError, match="stage = 'filter'"):
        store.write_rollouts([], "a", "filter", "x")  # type: ignore[arg-type]


def test_sweeps_join_checkpoints_and_runs(store: Store) -> None:
    store.write("runs", [{"run_id": "a", "name": "demo"}])
    store.write(
        "checkpoints",
        [CheckpointRecord("a", 5, "/checkpoints/5", True, 0.9, "tiny", 1)],
    )
    store.write(
        "budget_results",
        [make_point(budget, step=step) for step in (0, 5) for budget in (24, 48)],
    )
    result = store.query(
        "SELECT r.name, b.step, b.budget_tokens, c.path, c.model_version FROM budget_results b JOIN runs r USING (run_id) "
        "LEFT JOIN checkpoints c ON c.run_id = b.run_id AND c.step = b.step WHERE b.budget_tokens = $budget ORDER BY b.step",
        {"budget": 48},
    )
    assert result.columns == ("name", "step", "budget_tokens", "path", "model_version")
    assert result.types == ("VARCHAR", "INTEGER", "INTEGER", "VARCHAR", "INTEGER")
    assert result.rows == [
        ("demo", 0, 48, None, None),
        ("demo", 5, 48, "/checkpoints/5", 1),
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM runs",
        "INSERT INTO runs (run_id, name) VALUES ('x', 'y')",
        "WITH new AS (SELECT 'x') INSERT INTO runs (run_id, name) SELECT 'x', 'y' FROM new",
        "UPDATE runs SET name = 'z'",
        "DROP TABLE runs",
        "CREATE TABLE mine (a INTEGER)",
        "COPY runs TO 'stolen.csv'",
        "ATTACH 'other.duckdb'",
        "SET threads = 1",
        "PRAGMA database_list",
        "SELECT 1; DELETE FROM runs",
        "EXPLAIN ANALYZE DELETE FROM runs",
        "-- why\nEXPLAIN (ANALYZE, FORMAT json) COPY runs TO 'stolen.csv'",
        "EXPLAIN ANALYZE /* hidden */ DELETE FROM runs",
        "",
    ],
)
def test_sql_that_does_not_only_read_is_refused(store: Store, sql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("runs", [{"run_id": "a", "name": "demo"}])
    monkeypatch.chdir(store.home)
    with pytest.raises(ValueError, match="the store answers one SELECT|not valid SQL"):
        store.query(sql)
    assert store.query("SELECT run_id, name FROM runs").rows == [("a", "demo")]
    assert not (store.home / "stolen.csv").exists()


@pytest.mark.parametrize(
    "sql",
    [
        *(
            "SELECT run_id FROM runs;",
            "WITH one AS (SELECT 1 AS n) SELECT n FROM one",
            "FROM runs",
            "DESCRIBE runs",
            "SHOW TABLES",
        ),
        *(
            "SUMMARIZE runs",
            "EXPLAIN SELECT 1",
            "explain analyze select * from runs",
            "EXPLAIN (FORMAT json) SELECT 1",
            "VALUES (1)",
        ),
        "-- remark\n/* and\nanother */ EXPLAIN SELECT 1",
    ],
)
def test_sql_that_reads_is_answered(store: Store, sql: str) -> None:
    store.write("runs", [{"run_id": "a", "name": "demo"}])
    result = store.query(sql)
    assert result.rows
    assert len(result.columns) == len(result.types) == len(result.rows[0])


def test_sql_reads_the_users_own_files_and_installs_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("prompt_id,note\np1,odd\n")
    assert store.query(f"SELECT note FROM '{tmp_path}/mine.csv'").rows == [("odd",)]
    settings = "SELECT current_setting('autoinstall_known_extensions'), current_setting('allow_community_extensions')"
    assert store.query(settings).rows == [(False, False)]
    # What reads it is an extension that DuckDB does not bring: it says so instead of fetching it.
    with pytest.raises(ValueError, match="^the query failed.*httpfs[^\n]*$"):
        store.query("SELECT * FROM 'https://127.0.0.1:9/mine.parquet'")


def test_failing_and_endless_queries_are_user_mistakes(store: Store) -> None:
    with pytest.raises(ValueError, match="^the query failed.*nowhere[^\n]*$"):
        store.query("SELECT * FROM nowhere")
    with pytest.raises(ValueError, match="^the query failed.*No files found[^\n]*$"):
        store.query("SELECT * FROM 'nowhere.parquet'")
    with pytest.raises(ValueError, match="not valid SQL"):
        store.query("SELEKT 1")
    with pytest.raises(ValueError, match="longer than 0.2 s"):
        store.query("SELECT count(*) FROM range(10_000_000_000_000)", timeout_seconds=0.2)


def test_moved_home_is_read_at_its_new_place(tmp_path: Path) -> None:
    old = Store(tmp_path / "old")
    old.write_rollouts([make_rollout()], "a", "profile", "shard-0")
    assert old.query("SELECT count(*) FROM rollouts").rows == [(1,)]
    # Characters that mean something in SQL, in a glob pattern, in a partitioned data set.
    new_home = tmp_path / "model=it's [new]*"
    old.home.rename(new_home)
    new = Store(new_home)
    assert new.query("SELECT model FROM rollouts").rows == [("base",)]
    assert all(column.comment for column in new.schema()["rollouts"].columns)


def test_export_is_readable_without_duckdb(store: Store, tmp_path: Path) -> None:
    store.write(
        "runs",
        [
            {
                "run_id": "a",
                "name": "demo",
                "config": {"seed": 7},
                "started_at": datetime(2026, 1, 1, tzinfo=UTC),
            }
        ],
    )
    store.write_rollouts([make_rollout(text="é\n🙂")], "a", "profile", "shard-0")
    paths = store.export(tmp_path / "export")
    assert {path.name for path in paths} == {path.name for path in (tmp_path / "export").iterdir()}
    assert {path.stem for path in paths} == {*store.schema(), "schema"}
    [run] = pq.read_table(tmp_path / "export/runs.parquet").to_pylist()
    assert (run["run_id"], json.loads(run["config"]), run["started_at"]) == (
        "a",
        {"seed": 7},
        datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert pq.read_table(tmp_path / "export/rollouts.parquet")["text"].to_pylist() == ["é\n🙂"]
    tables = {
        table["name"]: table for table in json.loads((tmp_path / "export/schema.json").read_text(encoding="utf-8"))["tables"]
    }
    assert tables["prompts"]["key"] == ["prompt_id", "source"]
    assert tables["rollouts"]["columns"][0]["comment"] == "run_id/stage/model-step/prompt_id/sample_index"


def test_difficulty_comes_from_profile_rollouts_only(store: Store) -> None:
    rollouts = [
        make_rollout(
            prompt_id=prompt_id,
            sample_index=index,
            num_tokens=index + 1,
            correct=index < num_correct,
        )
        for prompt_id, num_correct in (("p2", 1), ("p1", 4))
        for index in range(4)
    ]
    store.write_rollouts(rollouts, "a", "profile", "shard-0")
    store.write_rollouts([make_rollout(stage="train", step=1, correct=False)], "a", "train", "step-1")
    rows = store.named("difficulty_from_rollouts", run_id="a")
    assert [DifficultyEstimate(**row) for row in rows] == [
        DifficultyEstimate("a", "p1", 4, 4, 1.0, 2.5, 4),
        DifficultyEstimate("a", "p2", 4, 1, 0.25, 2.5, 4),
    ]
    assert store.write("difficulty", rows) == 2
    assert store.query("SELECT stage, step, answered_fraction, accuracy FROM answers_found").rows == [
        ("profile", 0, 1.0, 0.625)
    ]


def test_selected_prompts_are_those_kept(store: Store) -> None:
    prompts = [Prompt(f"p{index}", source, "math", "?", "1") for index in (3, 1, 2) for source in ("sums", "other")]
    store.write("prompts", prompts)
    store.write(
        "selections",
        [Selection("a", f"p{index}", "easy", index != 2, "") for index in (1, 2, 3)],
    )
    rows = store.named("selected_prompts", run_id="a", source="sums")
    assert [Prompt(**row) for row in rows] == [
        Prompt("p1", "sums", "math", "?", "1"),
        Prompt("p3", "sums", "math", "?", "1"),
    ]


def test_stage_result_of_the_own_run_comes_first(store: Store) -> None:
    def found(run_id: str, fingerprint: str = "f") -> list[str]:
        rows = store.named(
            "stage_result_by_fingerprint",
            run_id=run_id,
            stage="profile",
            unit="",
            fingerprint=fingerprint,
        )
        return [row["run_id"] for row in rows]

    for run_id in ("a", "b"):
        store.write(
            "stage_results",
            [
                StageResult(
                    run_id,
                    "profile",
                    "",
                    "f",
                    1.5,
                    summary={"num_rollouts": 8, "by": ["x"]},
                )
            ],
        )
    assert (found("a"), found("b"), found("c"), found("a", "other")) == (
        ["a"],
        ["b"],
        ["b"],
        [],
    )
    store.write(
        "stage_results",
        [
            StageResult(
                "a",
                "profile",
                "",
                "f",
                1.5,
                reused_from="b",
                summary={"num_rollouts": 9},
            )
        ],
    )
    [newest] = store.named(
        "stage_result_by_fingerprint",
        run_id="c",
        stage="profile",
        unit="",
        fingerprint="f",
    )
    assert (newest["run_id"], newest["reused_from"], newest["summary"]) == (
        "a",
        "b",
        {"num_rollouts": 9},
    )


def test_runs_are_listed_newest_first(store: Store) -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    runs = [
        ("a", "demo", first),
        ("b", "demo", first + timedelta(days=1)),
        ("c", "other", first + timedelta(days=2)),
    ]
    store.write(
        "runs",
        [{"run_id": run_id, "name": name, "started_at": at} for run_id, name, at in runs],
    )
    store.write(
        "runs",
        [
            {
                "run_id": "a",
                "status": "completed",
                "finished_at": first + timedelta(seconds=90),
            }
        ],
    )
    store.write("training_steps", [make_step(step) for step in (2, 1)])
    store.write(
        "selections",
        [Selection("a", f"p{index}", "easy", index > 0, "") for index in range(3)],
    )
    store.write("stage_results", [StageResult("a", "profile", "", "f", 1.0)])
    store.write("stage_results", [StageResult("a", "filter", "", "f", 1.0)])
    assert [row["run_id"] for row in store.named("run_summary", run_id=None)] == [
        "c",
        "b",
        "a",
    ]
    [summary] = store.named("run_summary", run_id="a")
    expected = {
        "status": "completed",
        "seconds": 90.0,
        "num_selected_prompts": 2,
        "last_step": 2,
        "best_step": None,
    }
    assert {key: summary[key] for key in expected} == expected
    assert summary["finished_stages"] == ["profile", "filter"]
    assert [row["step"] for row in store.named("training_curve", run_id="a")] == [1, 2]


def test_budget_table_puts_runs_side_by_side(store: Store) -> None:
    store.write(
        "runs",
        [
            {"run_id": "a", "name": "demo"},
            {"run_id": "b", "name": "demo-control", "control_of": "a"},
        ],
    )
    store.write(
        "budget_results",
        [make_point(budget, run_id=run_id) for run_id in "ab" for budget in (48, 24)],
    )
    rows = store.named("budget_table", run_ids=["b", "a"])
    expected = [
        ("demo-control", "b", 24),
        ("demo-control", "b", 48),
        ("demo", "a", 24),
        ("demo", "a", 48),
    ]
    assert [(row["name"], row["run_id"], row["budget_tokens"]) for row in rows] == expected
    assert len(store.named("budget_table", run_ids=["b"])) == 2


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda store: store.named("no_such_query"),
            "no query named 'no_such_query'; there are .*training_curve",
        ),
        (lambda store: store.named("training_curve"), "training_curve.*run_id"),
        (
            lambda store: store.named("training_curve", run_id="a", colour="red"),
            "training_curve.*colour",
        ),
    ],
)
def test_wrong_named_queries_are_refused(store: Store, ask: Callable[[Store], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask(store)


def test_the_schema_is_rendered_with_every_column_of_the_contract() -> None:
    rows = render_schema().splitlines()
    for table, columns_by_type in CONTRACT.items():
        [row] = [row for row in rows if row.startswith(f"| `{table}` ")]
        assert all(column in row for columns in columns_by_type.values() for column in columns)
        assert row.count("|") == 4
