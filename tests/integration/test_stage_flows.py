"""Each stage as a flow of its own, one after another from what the earlier ones stored, with a control run beside the run."""

from pathlib import Path

import pytest

from pipeline_lib.config import load_config
from pipeline_lib.processes import lock_run
from pipeline_lib.store.database import Store

OVERRIDES = [
    "generation.engine=transformers",  # the portable engine through every stage; the end-to-end tests use vLLM
    "prompts.num_prompts=16",
    "train.steps=2",
    "train.prompts_per_step=4",
    "checkpoint.every_steps=2",
    "validation.source.num_prompts=8",
    "evaluate.benchmarks.0.num_prompts=12",
    "control.enabled=true",
    "control.rollout_limit_tokens=128",
]


def rows(home: Path, query: str) -> list[dict[str, object]]:
    result = Store(home).query(query)
    return [dict(zip(result.columns, row, strict=True)) for row in result.rows]


def artifacts() -> dict[str, str]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return {artifact.key: artifact.type for artifact in client.read_artifacts() if artifact.key}


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.slow  # the stages run one by one, with a control
def test_stages_run_alone_and_end_where_the_pipeline_does(home: Path, configs: Path) -> None:
    from flows.stages import run_evaluate, run_filter, run_profile, run_register, run_report, run_train

    smoke = str(configs / "smoke.toml")
    config = load_config(smoke, OVERRIDES)
    run_id, control_id = config.run_id, config.control_variant().run_id

    with pytest.raises(ValueError, match="has no difficulty profile yet"):
        run_filter(smoke, overrides=OVERRIDES)
    assert {row["status"] for row in rows(home, "select status from runs")} == {"failed"}

    own, shared = run_profile(smoke, overrides=OVERRIDES)
    assert own["rollouts"] == 16 * 4
    assert shared["reused_from"] == run_id
    both = rows(home, "select run_id, count(*) as n, sum(num_correct) as right from difficulty group by run_id order by run_id")
    assert [row["n"] for row in both] == [16, 16]
    assert both[0]["right"] == both[1]["right"]

    with pytest.raises(ValueError, match="has no selected prompts yet"):
        run_train(smoke, overrides=OVERRIDES)
    first, _ = run_filter(smoke, overrides=OVERRIDES)
    assert first["num_selected"] == first["num_easy"]
    assert run_filter(smoke, overrides=OVERRIDES)[0]["skipped"]
    assert "skipped" not in run_filter(smoke, overrides=OVERRIDES, force=True)[0]

    held = lock_run(home, run_id)
    with pytest.raises(ValueError, match="is being worked on by process"):
        run_train(smoke, overrides=OVERRIDES, force=True)
    held.close()

    run_train(smoke, overrides=OVERRIDES)
    steps = rows(home, "select run_id, count(*) as n, max(logprob_gap) as gap from training_steps group by run_id")
    assert {row["run_id"]: row["n"] for row in steps} == {run_id: 2, control_id: 2}
    assert all(row["gap"] < 1e-3 for row in steps)  # type: ignore[operator]
    longest = rows(home, "select run_id, max(num_tokens) as n from rollouts where stage = 'train' group by run_id")
    assert {row["run_id"]: row["n"] for row in longest}[run_id] == 64
    assert {row["run_id"]: row["n"] for row in longest}[control_id] > 64  # type: ignore[operator]

    done = run_evaluate(smoke, overrides=OVERRIDES)
    assert done == {"evaluated": 3, "skipped": 1}  # base once, shared; the last checkpoint of each
    base = rows(home, "select run_id, mean_at_k, mean_tokens from budget_results where step = 0 and budget_tokens = 192")
    assert {row["run_id"] for row in base} == {run_id, control_id}
    assert len({(row["mean_at_k"], row["mean_tokens"]) for row in base}) == 1
    assert run_evaluate(smoke, overrides=OVERRIDES) == {"evaluated": 0, "skipped": 4}

    registered = run_register(smoke, overrides=OVERRIDES)
    assert [(row["model"], row["version"]) for row in registered] == [("smoke", 1), ("smoke-control", 1)]
    assert run_register(smoke, overrides=OVERRIDES)[0]["version"] == 1
    assert Path(run_report(smoke, overrides=OVERRIDES)["report"]).is_file()
    finished = rows(home, "select name, status, control_of from runs order by name")
    assert finished == [
        {"name": "smoke", "status": "completed", "control_of": None},
        {"name": "smoke-control", "status": "completed", "control_of": run_id},
    ]

    shown = artifacts()
    assert shown["smoke-profile-progress"] == shown["smoke-train-progress"] == "progress"
    assert shown["smoke-budgets"] == shown["smoke-selection"] == shown["smoke-training-steps"] == "table"
    assert shown["smoke-accuracy-by-budget"] == shown["smoke-training-dynamics"] == "image"
    assert shown["smoke-lineage"] == "markdown"
    assert "smoke-report" in shown


@pytest.mark.usefixtures("prefect_server")
def test_a_training_is_taken_over_by_a_run_that_differs_in_its_evaluation_only(home: Path, configs: Path) -> None:
    """Fingerprints, not names: other evaluation settings must not train again."""
    from pipeline_lib.runs.run import Run
    from pipeline_lib.runs.session import RunSession
    from pipeline_lib.stages.profile import profile_fingerprint
    from pipeline_lib.stages.train import stored_fingerprint

    smoke = str(configs / "smoke.toml")
    one = RunSession(Run.of(load_config(smoke, OVERRIDES)))
    other = RunSession(Run.of(load_config(smoke, [*OVERRIDES, "evaluate.num_samples=2", "name=other"])))
    longer = RunSession(Run.of(load_config(smoke, [*OVERRIDES, "train.steps=3"])))
    assert one.run.run_id != other.run.run_id
    trained = [stored_fingerprint(each.run, each.ledger) for each in (one, other, longer)]
    assert trained[0] == trained[1] != trained[2]
    assert profile_fingerprint(one.run.config, one.run.base.digest) == profile_fingerprint(
        longer.run.config, longer.run.base.digest
    )
