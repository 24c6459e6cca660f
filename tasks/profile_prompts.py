"""The profile stage: N rollouts a prompt, sampled or imported, or recorded pass rates → how hard every prompt is."""

import time
from pathlib import Path
from typing import Any, Final

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipeline_lib.evaluation.recorded_rollouts import attach_prompts, judge_recorded, read_recorded_rollouts
from pipeline_lib.jobs import GenerateJob, GenerateUnit, write_prompts
from pipeline_lib.prompts import SourceContent, load_source, resolve_source
from pipeline_lib.records import DifficultyEstimate
from pipeline_lib.runs.session import RunSession
from pipeline_lib.selection.difficulty import pass_rate_histogram, recorded_difficulty
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
    content = load_source(run.config.prompts)
    run.store.write("prompts", list(content.prompts.values()))
    # Shards of other inputs would count in the pass rates; those of these inputs are an interrupted profile, to be gone on with.
    run.store.delete_rollout_files(run.run_id, STAGE, keep_prefixes=[] if force else [fingerprint[:12]])
    run.forget_stage(STAGE)
    found = {"sampled": _sample, "recorded": _take_recorded, "imported": _import}[run.config.profile.origin](
        run, content, fingerprint
    )
    estimates = [
        DifficultyEstimate(**{key: row[key] for key in DifficultyEstimate.__slots__})
        for row in run.store.named("difficulty_of_run", run_id=run.run_id)
    ]
    pass_rate = sum(estimate.pass_rate for estimate in estimates) / len(estimates)
    summary = {**found, "num_prompts": len(estimates), "mean_pass_rate": pass_rate}
    run.record_stage(STAGE, "", fingerprint, time.monotonic() - started, summary)
    histogram = "\n".join(pass_rate_histogram(estimates))
    publish_markdown(run.config.name, "pass-rate-histogram", f"```\n{histogram}\n```", "Pass rates of the profiled prompts")
    run.track(STAGE)
    return summary


def _sample(run: RunSession, content: SourceContent, fingerprint: str) -> dict[str, Any]:
    """Rollouts of the base model."""
    generated = _generate(run, list(content.prompts.values()), fingerprint)
    _store_pass_rates(run)
    return generated


def _take_recorded(run: RunSession, content: SourceContent, fingerprint: str) -> dict[str, Any]:
    """The pass rates that the source carries: no model runs."""
    source = run.config.prompts
    if not content.pass_rates:
        raise ValueError(
            f"prompt source {source.name!r} carries no pass rate for the prompts drawn (pass_rate_field = "
            f"{source.pass_rate_field!r}): name the column, or set profile.origin = 'sampled'"
        )
    estimates = recorded_difficulty(run.run_id, content.pass_rates, resolve_source(source).pass_rate_tries)
    run.store.replace("difficulty", {"run_id": run.run_id}, estimates)
    return {"origin": "recorded", "without_pass_rate": len(content.prompts) - len(estimates)}


def _import(run: RunSession, content: SourceContent, fingerprint: str) -> dict[str, Any]:
    """Rollouts made elsewhere, judged here."""
    path = Path(run.config.profile.rollouts_file or "").expanduser()
    recorded = read_recorded_rollouts(path)
    models = sorted({rollout.model for rollout in recorded})
    if len(models) > 1:
        raise ValueError(
            f"{path} holds rollouts of several models, whose pass rates would be mixed: keep one of {', '.join(models)}"
        )
    pairs, unmatched = attach_prompts(recorded, list(content.prompts.values()))
    if not pairs:
        raise ValueError(f"{path} holds no rollout of a problem of prompt source {run.config.prompts.name!r}")
    rollouts = judge_recorded(pairs, run.config.prompts.grader, run.run_id, STAGE, run.config.prompts.name)
    run.store.write_rollouts(rollouts, run.run_id, STAGE, f"{fingerprint[:12]}-imported")
    _store_pass_rates(run)
    return {"origin": "imported", "rollouts": len(rollouts), "of_other_problems": unmatched}


def _store_pass_rates(run: RunSession) -> None:
    rows = run.store.named("difficulty_from_rollouts", run_id=run.run_id)
    run.store.replace("difficulty", {"run_id": run.run_id}, rows)


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
