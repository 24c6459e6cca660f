"""A model that is served elsewhere goes through the stages, and teaches a model of ours which prompts are easy."""

from pathlib import Path
from typing import Any

import pytest
from loopback import ChatServer, chat_answer
from typer.testing import CliRunner

from flows.cli import app
from pipeline_lib.config import load_config
from pipeline_lib.prompts import load_prompts
from pipeline_lib.records import StageResult
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import sessions_of
from pipeline_lib.runs.spent import spent_words
from pipeline_lib.stages import STAGES
from pipeline_lib.stages.opened import opened
from pipeline_lib.stages.pipeline import run_pipeline
from pipeline_lib.stages.profile import imported_profile, rollouts_overrides
from pipeline_lib.stages.runner import run_stage
from pipeline_lib.store.database import Store

WORDS = ("tracking.enabled=false", "prompts.num_prompts=24", "evaluate.benchmarks.0.num_prompts=12")
PRICES = ("prices.input_per_million_tokens=10", "prices.output_per_million_tokens=1000")


def test_profile_filter_evaluate_report_and_a_student(home: Path, configs: Path) -> None:
    config = load_config(configs / "served.toml", [*WORDS, *PRICES, "profile.num_rollouts=2"])
    sources = (config.prompts, config.evaluate.benchmarks[0])
    gold = {prompt.problem: prompt.answer for source in sources for prompt in load_prompts(source)}
    hard = {prompt.problem for number, prompt in enumerate(load_prompts(config.prompts)) if number % 3 == 0}

    def answer(server: ChatServer, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        if len(server.asked) % 7 == 0:
            return 503, {"retry-after": "0"}, b""
        problem = body["messages"][0]["content"]
        right = "none" if problem in hard else gold[problem]
        return 200, {}, chat_answer(f"\\boxed{{{right}}}", tokens=30)

    with ChatServer(answer) as server:
        here = f"generation.endpoint.base_url={server.url}"
        config = load_config(configs / "served.toml", [*WORDS, *PRICES, "profile.num_rollouts=2", here])
        outcome = run_pipeline(config)
        asked = len(server.asked)
        for stage in ("profile", "evaluate"):
            assert run_stage(STAGES[stage].stage, sessions_of(config)).get("skipped")
    assert len(server.asked) == asked, "what is stored is not asked for again"

    store = Store(home)
    assert {row["stage"] for row in store.named("stage_durations", run_id=config.run_id)} == {
        "profile",
        "filter",
        "evaluate",
        "report",
    }
    points = store.named("budget_table", run_ids=[config.run_id])
    assert [(point["budget_tokens"], point["mean_at_k"]) for point in points] == [(24, 0.0), (48, 1.0), (96, 1.0), (192, 1.0)]
    assert {(point["model"], point["step"]) for point in points} == {("tiny", 0)}
    assert [point["cost_per_1000_correct"] for point in points] == [None, *[pytest.approx(30 * 1.0 + 5 * 0.01)] * 3]
    usage = store.named("endpoint_usage_of_run", run_id=config.run_id)
    assert {row["stage"] for row in usage} == {"profile", "evaluate"}
    assert sum(row["requests"] for row in usage) == asked == 60 + sum(row["retries"] for row in usage)
    assert sum(row["cost"] for row in usage) == pytest.approx((60 * 5 * 10 + 60 * 30 * 1000) / 1e6)
    spent = "300 prompt tokens, 1,800 response tokens, 1.80 USD"
    assert spent in Path(outcome["report"]).read_text()
    assert spent in CliRunner().invoke(app, ["show", "served"]).output

    by_the_hour = Run.of(load_config(configs / "smoke.toml", ["prices.per_gpu_hour=3", "prices.currency=EUR"]))
    assert spent_words(store, by_the_hour) == "0.00 GPU hours, 0.00 EUR"
    store.write("stage_results", [StageResult(by_the_hour.run_id, "train", "", "f", 5400.0)])
    assert spent_words(store, by_the_hour) == "1.50 GPU hours, 4.50 EUR"

    student = [*WORDS, "evaluate.benchmarks.0.num_prompts=3"]
    taught = load_config(configs / "smoke.toml", [*student, *rollouts_overrides("served")])
    with opened(sessions_of(taught)) as sessions:
        summary = run_stage(STAGES["filter"].stage, sessions)
    assert (summary["num_selected"], summary["num_easy"], summary["num_hard"]) == (16, 16, 8)
    # Later stages of the same configuration go on from that.
    [session] = sessions_of(load_config(configs / "smoke.toml", student))
    assert imported_profile(session.run) == rollouts_overrides(config.run_id)
    with pytest.raises(ValueError, match="no rollouts of a profile of its own"):
        Store(home).delete_rollout_files(config.run_id, "profile")
        rollouts_overrides("served")
    with pytest.raises(ValueError, match="no run 'nobody'"):
        rollouts_overrides("nobody")
