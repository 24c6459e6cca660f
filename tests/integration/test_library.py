"""The whole pipeline as a library call, in a process in which Prefect cannot be imported; DuckDB and MLflow are there.

It trains adapters, so that one run of all stages does.
"""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from pipeline_lib.store.database import Store

RUN_TWICE = """
import json, sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("prefect", "flows", "tasks"):
            raise ImportError(f"{name} is refused here")

sys.meta_path.insert(0, Refusing())
from pipeline_lib.stages.pipeline import run_pipeline

first, second = (run_pipeline(sys.argv[1], sys.argv[2:]) for _ in range(2))
assert first == second and "prefect" not in sys.modules
print(json.dumps(first))
"""
OVERRIDES = [
    *("generation.engine=transformers", "prompts.num_prompts=8", "profile.num_rollouts=2", "filter.subset=all"),
    *("train.steps=1", "train.prompts_per_step=2", "train.num_rollouts=2", "checkpoint.every_steps=1"),
    *("train.lora.rank=4", "train.learning_rate=1e-2"),
    *("validation.source.num_prompts=2", "validation.num_samples=1"),
    *("evaluate.benchmarks.0.num_prompts=4", "evaluate.num_samples=1", "evaluate.bootstrap_resamples=10"),
]


def test_the_pipeline_runs_without_prefect_and_takes_up_what_is_stored(home: Path, configs: Path) -> None:
    command = [sys.executable, "-c", RUN_TWICE, str(configs / "smoke.toml"), *OVERRIDES]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert Path(result["report"]).is_file()
    [run_id] = result["run_ids"]
    store = Store(home)
    assert store.query("select run_id, status, error, prefect_flow_run_id from runs").rows == [
        (run_id, "completed", None, None)
    ]
    stages = [row["stage"] for row in store.named("stage_durations", run_id=run_id)]
    assert sorted(stages) == ["evaluate", "filter", "profile", "register", "report", "train"]
    counts = "select stage, count(*) from rollouts group by stage order by stage"
    assert store.query(counts).rows == [("evaluate", 8), ("profile", 16), ("train", 4)]
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        told = database.execute("select name, status from runs order by name").fetchall()
        versions = database.execute("select name, version from model_versions").fetchall()
    assert told == [(name, "FINISHED") for name in sorted([*stages, "smoke"])]
    assert versions == [("smoke", 1)]
    adapters = [path.relative_to(home).parts[0] for path in home.rglob("adapter/adapter_model.safetensors")]
    assert sorted(adapters) == ["checkpoints", "mlartifacts"], "registered beside the merged model, as in the checkpoint"
