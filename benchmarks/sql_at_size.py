"""SQL, report, show, export and preview over a home with millions of rollouts: seconds and memory against their targets.

    python benchmarks/sql_at_size.py [--rows 300000] [--folder FOLDER] [--keep] [--no-export]

Five runs whose rollouts, with texts of 2 kB, DuckDB draws and lays down as stages do, a file a step; the store compacts them.
10,000,000 rows need 20 GB of disk and half an hour. Each question is asked by a process of its own, as `laconic sql` does,
and the least of three counts (whatever else runs adds to it); seconds are those of the query with opening and closing the store.
Nothing is left behind.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
from targets import Targets

from pipeline_lib.config import RunConfig, load_config
from pipeline_lib.evaluation.budget_sweep import score_budgets
from pipeline_lib.records import DifficultyEstimate, Prompt, Rollout, StageResult
from pipeline_lib.runs.run import Run
from pipeline_lib.stages.profile import profile_fingerprint
from pipeline_lib.store.database import Store

SMOKE = Path(__file__).resolve().parents[1] / "configs" / "smoke.toml"
NUM_RUNS, STEP_ROLLOUTS, SAMPLES, PROBLEMS = 5, 3072, 16, 500
# Of a run's rollouts: the rest is of training.
PROFILED, EVALUATED = 0.1, 0.1
SQL_SECONDS, RUN_SECONDS, TEXT_SECONDS, MEMORY_GB = 1.0, 0.3, 0.3, 2.0
# An evaluation that is no toy: of those the report shows how every response is written.
BENCHMARK = 'evaluate.benchmarks=[{name="problems", kind="file", path="none.parquet", domain="math", grader="exact"}]'

FRAGMENTS = """CREATE TABLE fragments AS
SELECT number, string_agg(word, ' ') AS text FROM (
    SELECT number, CASE WHEN random() < 0.3 THEN (random() * 100000)::INT::VARCHAR
        ELSE 'w' || (random() * random() * 4000)::INT || substr('ingtheeredtion', 1 + (random() * 8)::INT, 4) END AS word
    FROM range(30000) AS numbers(number), range(58) AS places(place)
) GROUP BY number"""
ROWS = """COPY (
    SELECT '{run}' AS run_id, '{stage}' AS stage, ({step})::INT AS step, '{model}' AS model, 'problems' AS source,
        'problem-' || ({prompt})::INT AS prompt_id, (i % {samples})::INT AS sample_index,
        (20 + hash(i, 9) % 4000)::INT AS num_tokens, CASE WHEN hash(i, 9) % 4000 > 3900 THEN 'length' ELSE 'stop' END AS finish_reason,
        (i % 100)::VARCHAR AS answer, hash(i, {seed}, 8) % 10 < 6 AS correct, 'correct' AS grade_reason,
        a.text || ' ' || b.text || ' ' || c.text || ' ' || d.text AS text,
        random() AS reward, random() - 0.5 AS advantage, false AS masked, 0::INT AS policy_lag, -random() AS mean_logprob
    FROM (SELECT i, hash(i, {seed}, 1) % 30000 AS n1, hash(i, {seed}, 2) % 30000 AS n2, hash(i, {seed}, 3) % 30000 AS n3,
        hash(i, {seed}, 4) % 30000 AS n4 FROM range({first}, {last}) AS rows(i))
    JOIN fragments AS a ON a.number = n1 JOIN fragments AS b ON b.number = n2
    JOIN fragments AS c ON c.number = n3 JOIN fragments AS d ON d.number = n4
    ORDER BY step
) TO '{path}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 16384)"""


def configuration(number: int) -> RunConfig:
    """One of the runs."""
    return load_config(
        str(SMOKE), [f'name="size-{number}"', BENCHMARK, "tracking.enabled=false", f"profile.num_rollouts={SAMPLES}"]
    )


def fill(store: Store, num_rows: int) -> list[RunConfig]:
    """Lay down the rollouts of all runs and what else is stored of these; every run's files are compacted before the next's."""
    with duckdb.connect() as rows:
        rows.execute(FRAGMENTS)
        configs = [configuration(number) for number in range(NUM_RUNS)]
        for seed, config in enumerate(configs):
            fill_run(store, rows, config, seed, num_rows // NUM_RUNS)
            print(f"  {config.run_id}: {num_rows // NUM_RUNS:,} rollouts", flush=True)
    return configs


def fill_run(store: Store, rows: duckdb.DuckDBPyConnection, config: RunConfig, seed: int, num_rows: int) -> None:
    """Lay down one run: training by a step's rollouts, evaluation of the base and of the last step, profile."""
    profiled, evaluated = int(PROFILED * num_rows), int(EVALUATED * num_rows) // 2
    trained = num_rows - profiled - 2 * evaluated
    last_step = max(1, trained // STEP_ROLLOUTS)
    common = {"run": config.run_id, "seed": seed}

    def lay(stage: str, number: int, step: str, model: str, prompt: str, samples: int, name: str) -> None:
        folder = store.rollouts_folder / config.run_id / stage
        folder.mkdir(parents=True, exist_ok=True)
        for first in range(0, number, STEP_ROLLOUTS):
            path = folder / name.format(first // STEP_ROLLOUTS + 1)
            ends = {"first": first, "last": min(number, first + STEP_ROLLOUTS), "path": path}
            rows.execute(ROWS.format(**common, **ends, stage=stage, step=step, model=model, prompt=prompt, samples=samples))

    prompts = max(1, profiled // SAMPLES)
    lay(
        "train",
        trained,
        f"i // {STEP_ROLLOUTS} + 1",
        config.name,
        f"(i * 7919) // {SAMPLES} % {prompts}",
        SAMPLES,
        "step-{:05d}-rank-0.parquet",
    )
    lay("profile", profiled, "0", "base", f"i // {SAMPLES}", SAMPLES, "0123456789ab-{:06d}.parquet")
    for step, model in ((0, "base"), (last_step, config.name)):
        name = f"problems-{step:05d}-0123456789ab-" + "{:06d}.parquet"
        lay("evaluate", evaluated, str(step), model, f"i % {PROBLEMS}", max(1, evaluated // PROBLEMS) + 1, name)
    for stage in ("profile", "train", "evaluate"):
        store.compact(config.run_id, stage)  # type: ignore[arg-type]
    fill_tables(store, config, last_step, prompts)


def fill_tables(store: Store, config: RunConfig, last_step: int, prompts: int) -> None:
    """What report, show and preview need beside rollouts."""
    run_id = config.run_id
    row = {"run_id": run_id, "name": config.name, "status": "completed", "base_model": "builtin:tiny"}
    store.write("runs", [{**row, "config": config.model_dump(mode="json")}])
    store.write(
        "prompts", [Prompt(f"problem-{number}", "problems", "math", f"Problem {number}?", "42") for number in range(prompts)]
    )
    store.write(
        "difficulty", [DifficultyEstimate(run_id, f"problem-{number}", SAMPLES, 10, 0.625, 2000.0) for number in range(prompts)]
    )
    for step, model in ((0, "base"), (last_step, config.name)):
        few = [
            Rollout(run_id, "evaluate", step, model, "problems", f"problem-{n}", 0, 900, "stop", "42", n % 2 == 0, "", "")
            for n in range(PROBLEMS)
        ]
        store.write(
            "budget_results",
            score_budgets(few, [512, 2048], 10, 0, run_id=run_id, model=model, step=step, benchmark="problems"),
        )
        store.write("stage_results", [StageResult(run_id, "evaluate", f"step-{step:05d}/problems", f"{run_id}-{step}", 1.0)])
    fingerprint = profile_fingerprint(config, Run.of(config).base.digest)
    store.write("stage_results", [StageResult(run_id, "profile", "", fingerprint, 1.0)])


ASK = """import sys, time
from pathlib import Path
from pipeline_lib.store.database import Store
Store(Path(sys.argv[1])).named("named_runs")
started = time.perf_counter()
rows = Store(Path(sys.argv[1])).query(sys.argv[2]).rows
assert rows and rows[0][0] is not None, rows
print(time.perf_counter() - started)"""


def ask(home: Path, query: str) -> float:
    """The least seconds of three of a query, each time in a process of its own."""
    words = [sys.executable, "-c", ASK, str(home), query]
    return min(float(subprocess.run(words, capture_output=True, text=True, check=True).stdout) for _ in range(3))


def peak_gb(home: Path, *words: str) -> tuple[float, float]:
    """Peak memory (GB) and seconds of a command."""
    started = time.perf_counter()
    process = subprocess.Popen(
        words, env={**os.environ, "LACONIC_HOME": str(home)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout
    output = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, output
    return usage.ru_maxrss / 1e6, time.perf_counter() - started


def write_report_of(number: int) -> None:
    """What the report stage does, in this process: without Prefect's server beside it."""
    from pipeline_lib.runs.session import sessions_of
    from pipeline_lib.stages import STAGES
    from pipeline_lib.stages.runner import run_stage

    print(run_stage(STAGES["report"].stage, sessions_of(configuration(number))[:1]))


def measure(home: Path, configs: list[RunConfig], with_export: bool) -> None:
    """Ask, look, and hold against the targets; ends the process."""
    run, targets, store = configs[2].run_id, Targets(), Store(home)
    [(rollout_id,)] = store.query(
        f"SELECT rollout_id FROM rollouts WHERE run_id = '{run}' AND stage = 'train' AND step = 2 LIMIT 1"
    ).rows
    columns = "stage, count(*), avg(num_tokens), avg(correct::INT)"
    targets.check("README's question", ask(home, f"SELECT {columns} FROM rollouts GROUP BY stage"), SQL_SECONDS)
    by_id = f"SELECT {columns} FROM rollouts WHERE run_id = '{run}' GROUP BY stage"
    by_name = f"SELECT {columns} FROM rollouts JOIN runs USING (run_id) WHERE name = '{configs[2].name}' GROUP BY stage"
    targets.check("one run's, by its id", ask(home, by_id), RUN_SECONDS)
    targets.check("one run's, by its name", ask(home, by_name), RUN_SECONDS)
    targets.check("one rollout's text", ask(home, f"SELECT text FROM rollouts WHERE rollout_id = '{rollout_id}'"), TEXT_SECONDS)
    laconic = (sys.executable, "-m", "flows.cli")
    settings = [
        word
        for override in (f'name="{configs[2].name}"', BENCHMARK, "tracking.enabled=false", f"profile.num_rollouts={SAMPLES}")
        for word in ("--set", override)
    ]
    commands: dict[str, tuple[str, ...]] = {
        "report": (sys.executable, __file__, "--report", str(home)),
        "show RUN": (*laconic, "show", run),
        "show ROLLOUT": (*laconic, "show", rollout_id),
        "preview": (*laconic, "preview", str(SMOKE), *settings),
    }
    if with_export:
        commands["export"] = (*laconic, "export", str(home / "exported"), "--tables", "rollouts")
    for name, words in commands.items():
        memory, seconds = peak_gb(home, *words)
        targets.check(f"laconic {name} ({seconds:.1f} s)", memory, MEMORY_GB, "GB")
    targets.exit()


def main() -> None:
    """Fill a home, measure, and remove it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--folder", type=Path, help="where the home is made; default: a temporary folder")
    parser.add_argument("--keep", action="store_true", help="leave the home, and use the one that is there")
    parser.add_argument("--no-export", action="store_true", help="spare the disk a second copy")
    parser.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.report:
        return write_report_of(2)
    home = chosen.folder or Path(tempfile.mkdtemp(prefix="sql-at-size-"))
    try:
        is_there = (home / "laconic.duckdb").exists()
        started = time.perf_counter()
        configs = [configuration(number) for number in range(NUM_RUNS)] if is_there else fill(Store(home), chosen.rows)
        files = [path.stat().st_size for path in home.glob("rollouts/*/compacted/*/*/*.parquet")]
        seconds = time.perf_counter() - started
        print(f"{chosen.rows:,} rollouts in {len(files) - 1} large files of {sum(files) / 1e9:.2f} GB, made in {seconds:.0f} s")
        measure(home, configs, not chosen.no_export)
    finally:
        if not chosen.keep:
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
