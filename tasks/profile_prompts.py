"""The profile stage: N rollouts a prompt with the base model → pass rate and length of every prompt."""

import time
from typing import Any, Final

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipeline_lib.difficulty import pass_rate_histogram
from pipeline_lib.prompts import load_prompts
from pipeline_lib.records import DifficultyEstimate
from pipeline_lib.session import RunSession
from pipeline_lib.worker.jobs import GenerateJob, GenerateUnit, write_prompts
from tasks.artifacts import publish_markdown
from tasks.progress import stage_progress

STAGE: Final = "profile"


@task(name="profile", cache_policy=NO_CACHE)
def profile_prompts(run: RunSession) -> dict[str, Any]:
    """Profile the prompts of a run, or take over the profile of another run with the same inputs."""
    fingerprint = run.fingerprint(STAGE)
    # A control shares the profile of its run, also the one that --force has just made.
    force = run.force and run.control_of is None
    stored = None if force else run.stored_result(STAGE, "", fingerprint)
    if stored and stored["run_id"] == run.run_id:
        return {**stored["summary"], "skipped": True}
    if stored:
        run.store.copy_rows("difficulty", stored["run_id"], run.run_id)
        run.record_stage(STAGE, "", fingerprint, 0.0, stored["summary"], reused_from=stored["run_id"])
        return {**stored["summary"], "reused_from": stored["run_id"]}
    started = time.monotonic()
    prompts = load_prompts(run.config.prompts)
    run.store.write("prompts", prompts)
    # Shards of other inputs would count in the pass rates; those of these inputs are an interrupted profile, to be gone on with.
    run.store.delete_rollout_files(run.run_id, STAGE, keep_prefixes=[] if force else [fingerprint[:12]])
    run.forget_stage(STAGE)
    generated = _generate(run, prompts, fingerprint)
    rows = run.store.named("difficulty_from_rollouts", run_id=run.run_id)
    run.store.replace("difficulty", {"run_id": run.run_id}, rows)
    estimates = [DifficultyEstimate(**{key: row[key] for key in DifficultyEstimate.__slots__}) for row in rows]
    pass_rate = sum(estimate.pass_rate for estimate in estimates) / len(estimates)
    summary = {**generated, "num_prompts": len(estimates), "mean_pass_rate": pass_rate}
    run.record_stage(STAGE, "", fingerprint, time.monotonic() - started, summary)
    histogram = "\n".join(pass_rate_histogram(estimates))
    publish_markdown(run.config.name, "pass-rates", f"```\n{histogram}\n```", "Pass rates of the profiled prompts")
    run.track(STAGE, summary)
    return summary


def _generate(run: RunSession, prompts: list[Any], fingerprint: str) -> dict[str, Any]:
    prompts_file = run.training_folder() / "profile-prompts.json"
    write_prompts(prompts_file, prompts)
    profile = run.config.profile
    unit = GenerateUnit(
        run_id=run.run_id,
        stage=STAGE,
        step=0,
        model=run.base.label,
        source=run.config.prompts,
        prompts_file=str(prompts_file),
        num_samples=profile.num_rollouts,
        limit_tokens=profile.rollout_limit_tokens,
        temperature=profile.temperature,
        top_p=profile.top_p,
        seed=run.config.seed,
        shard_prefix=fingerprint[:12],
        output_folder=str(run.rollouts_folder(STAGE)),
    )
    with stage_progress(run.config.name, STAGE) as progress:
        result: dict[str, Any] = run.worker.run(
            GenerateJob(units=(unit,)), lambda state: progress.update(state["done"], state["total"])
        )
    return result
