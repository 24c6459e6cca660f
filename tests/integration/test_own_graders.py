"""Reasoning Gym and a grader of one's own through every stage: the shipped configuration with the tiny model in place of its base.

The tiny model solves none of these problems, so that what counts as correct is set to what it can do: giving an answer.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_lib.store.database import Store

RUN = "import sys; from pipeline_lib.stages.pipeline import run_pipeline; run_pipeline(sys.argv[1], sys.argv[2:])"
JUDGE = """
def grade(response, prompt):
    print("a word on stdout")
    if "5" in prompt["problem"]:
        raise KeyError("no rule for fives")
    assert prompt["metadata"] == {"unit": "cm"}
    return (1.0 if "boxed" in response else 0.5, prompt["id"])
"""
SOURCE = {
    "name": "own",
    "kind": "file",
    "id_field": "id",
    "grader": "python",
    "function": "my_judge:grade",
    "metadata_fields": ["unit"],
}
SMALL = [
    *("base_model=builtin:tiny", "chat_style=model", "control.enabled=false", "filter.subset=all", "tracking.enabled=false"),
    *(
        "generation.engine=transformers",
        "generation.dtype=float32",
        "compute.precision=float32",
        "generation.max_prompt_tokens=2048",
    ),
    *("prompts.num_prompts=4", "prompts.correct_score=0", "profile.num_rollouts=2", "profile.rollout_limit_tokens=64"),
    *("reward.target_tokens=64", "train.rollout_limit_tokens=64", "train.steps=1", "train.prompts_per_step=2"),
    *("train.num_rollouts=2", "checkpoint.every_steps=1", "compute.num_threads=1", "evaluate.budgets_tokens=[32, 64]"),
    *("evaluate.num_samples=1", "evaluate.bootstrap_resamples=10", "evaluate.checkpoints=last"),
    *(f"evaluate.benchmarks.{number}.num_prompts=2" for number in range(3)),
]


def test_a_gym_task_and_an_own_grader_go_through_every_stage(home: Path, configs: Path, tmp_path: Path) -> None:
    pytest.importorskip("reasoning_gym", reason="the extra laconic[gym] is not installed")
    (tmp_path / "my_judge.py").write_text(JUDGE)
    rows = [{"id": f"own-{number}", "problem": f"{number}a+1", "unit": "cm"} for number in (1, 2, 5)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = ", ".join(f"{key} = {json.dumps(value)}" for key, value in {**SOURCE, "path": str(tmp_path / "own.jsonl")}.items())
    overrides = [*SMALL, f"validation.source={{{own}}}", f"evaluate.benchmarks.0={{{own.replace('own', 'own-test', 1)}}}"]
    command = [sys.executable, "-c", RUN, str(configs / "gym.toml"), *overrides]
    done = subprocess.run(command, env=dict(os.environ), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    store = Store(home)
    assert store.query("select status, error from runs").rows == [("completed", None)]
    by_stage = """select distinct stage, source, regexp_extract(grade_reason, '^[a-z_]+') from rollouts order by all"""
    kinds: dict[tuple[str, str], set[str]] = {}
    for stage, source, reason in store.query(by_stage).rows:
        kinds.setdefault((stage, source), set()).add(reason)
    assert kinds.keys() == {
        *(("profile", "gym-train"), ("train", "gym-train"), ("evaluate", "own-test")),
        *(("evaluate", "gym-knights"), ("evaluate", "gym-calendar")),
    }
    assert kinds["profile", "gym-train"] <= {"correct", "no_answer", "truncated"}
    finished = "select grade_reason from rollouts where source = 'own-test' and finish_reason = 'stop' and prompt_id = 'own-{}'"
    fives = {row[0] for row in store.query(finished.format(5)).rows}
    assert fives == {"error: KeyError: 'no rule for fives' (my_judge.py, line 5)"}
    others = {row[0] for number in (1, 2) for row in store.query(finished.format(number)).rows}
    assert others and others <= {f"{kind}; own-{n}" for n in (1, 2) for kind in ("wrong: score 0.5",)} | {
        "correct: own-1",
        "correct: own-2",
    }
    domains = store.query("select distinct domain from prompts where source like 'gym-%' order by 1").rows
    assert [row[0] for row in domains] == ["calendar_arithmetic", "chain_sum", "knights_knaves", "leg_counting"]
    selected = store.query("select count(*) from selections where selected").rows
    assert selected == [(4,)]
