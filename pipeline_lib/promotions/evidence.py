"""The evaluation rollouts of a run that the gate judges by, read from their files."""

import glob

from pipeline_lib.files.home import below
from pipeline_lib.records import Rollout
from pipeline_lib.runs.run import Run
from pipeline_lib.store.database import Store
from pipeline_lib.store.rollout_files import read_rollout_file

STAGE = "evaluate"


def evaluation_rollouts(store: Store, run: Run, step: int, benchmarks: list[str]) -> dict[str, list[Rollout]]:
    """The rollouts of one model of a run (step 0: its base) on each benchmark.

    They may lie with another run that evaluated the same model before. Raises ValueError when it was not evaluated, or its
    files are gone.
    """
    done = {row["unit"]: row for row in store.named("stage_results_of_run", run_id=run.run_id, stage=STAGE)}
    found = {}
    for benchmark in benchmarks:
        unit = f"step-{step:05d}/{benchmark}"
        if unit not in done:
            raise ValueError(
                f"run {run.run_id} has no evaluation of step {step} on {benchmark!r}, so there is nothing to judge by: "
                "run 'laconic evaluate' with its configuration first"
            )
        fingerprint = done[unit]["fingerprint"]
        owners = store.named("stage_result_owner", stage=STAGE, unit=unit, fingerprint=fingerprint)
        folders = [run.rollouts_folder(STAGE), *(below(run.home, "rollouts", row["run_id"], STAGE) for row in owners)]
        pattern = glob.escape(f"{benchmark}-{step:05d}-{fingerprint[:12]}") + "-*.parquet"
        shards = next((files for folder in folders if (files := sorted(folder.glob(pattern)))), [])
        found[benchmark] = [rollout for shard in shards for rollout in read_rollout_file(shard)]
        if not shards:
            raise ValueError(
                f"the evaluation rollouts of step {step} of run {run.run_id} on {benchmark!r} are gone: run 'laconic evaluate "
                "--force' with its configuration"
            )
    return found
