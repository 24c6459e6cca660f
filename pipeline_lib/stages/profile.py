"""The profile stage: N rollouts per prompt, sampled or imported, or recorded pass rates → how hard every prompt is."""

import json
import logging
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline_lib.config import RunConfig, digest, laconic_home, stored_config
from pipeline_lib.evaluation.missing_answers import missing_answers
from pipeline_lib.evaluation.recorded_rollouts import attach_prompts, judge_recorded, read_recorded_rollouts
from pipeline_lib.files.home import below
from pipeline_lib.files.tables import FORMATS
from pipeline_lib.jobs import GenerateJob, GenerateUnit, write_prompts
from pipeline_lib.prompts import SourceContent, load_source, resolve_source
from pipeline_lib.prompts.chat_templates import load_tokenizer
from pipeline_lib.prompts.local_copies import content_digests, source_identity
from pipeline_lib.records import DifficultyEstimate, Prompt
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.run_names import resolve_run
from pipeline_lib.runs.session import RunSession
from pipeline_lib.selection.difficulty import pass_rate_histogram, recorded_difficulty
from pipeline_lib.selection.training_prompts import require_clean_examples
from pipeline_lib.stages.display import Display
from pipeline_lib.stages.restarting import generate
from pipeline_lib.stages.stage import StageOfRuns, Summary, Unit, sampling_identity
from pipeline_lib.store.rollout_files import read_stage_rollouts, write_rollout_file

logger = logging.getLogger(__name__)


def profile_fingerprint(config: RunConfig, base_digest: str) -> str:
    """Digest of base model, prompts, sampling, seed; or of the file that the rollouts come from."""
    imported = content_digests(Path(config.profile.rollouts_file).expanduser()) if config.profile.rollouts_file else []
    profile = config.profile.model_dump(exclude={"rollouts_file"})
    return digest(["profile", base_digest, source_identity(config.prompts), profile, imported, sampling_identity(config)])


def stored_estimates(session: RunSession) -> list[DifficultyEstimate]:
    """What the profile of a run found; empty when there is none."""
    rows = session.store.named("difficulty_of_run", run_id=session.run.run_id)
    return [DifficultyEstimate(**{key: row[key] for key in DifficultyEstimate.__slots__}) for row in rows]


def imported_profile(run: Run) -> list[str]:
    """What is to be overridden in a run's configuration to go on from a profile of rollouts made elsewhere.

    Empty where the run has a profile, where its configuration says how to come by one, and where no such profile is stored for
    the same configuration otherwise.
    """
    from pipeline_lib.store.database import Store

    if run.config.profile.origin != "sampled":
        return []
    profiled = Store(run.home).named("profiled_runs", name=run.config.name)
    if any(row["run_id"] == run.run_id for row in profiled):
        return []
    for row in profiled:
        with suppress(ValueError):  # a configuration of another version
            config = stored_config(row["config"], RunConfig)
            is_same = config.model_copy(update={"profile": run.config.profile}).run_id == run.run_id
            if is_same and config.profile.rollouts_file:
                return rollouts_overrides(config.profile.rollouts_file)
    return []


def rollouts_overrides(word: str) -> list[str]:
    """What is to be overridden for a profile of the rollouts in a file, or of those that a run's profile has: of its teacher."""
    path = word if Path(word).expanduser().exists() or Path(word).suffix in FORMATS else str(_rollouts_of_run(word))
    return ['profile.origin="imported"', f"profile.rollouts_file={json.dumps(path)}"]


def _rollouts_of_run(word: str) -> Path:
    """A file with the rollouts of a run's profile, written anew. Raises ValueError where it has none."""
    from pipeline_lib.store.database import Store

    home = laconic_home()
    run_id = resolve_run(word, Store(home).named("named_runs"))
    rollouts = read_stage_rollouts(below(home, "rollouts", run_id, "profile"), "")
    if not rollouts:
        raise ValueError(f"run {run_id} has no rollouts of a profile of its own: 'laconic profile' samples them")
    order = sorted(rollouts, key=lambda rollout: (rollout.prompt_id, rollout.sample_index))  # so that its digest stays
    return write_rollout_file(below(home, "profiles", f"{run_id}.parquet"), order)


class Profile(StageOfRuns):
    """**How hard each prompt is for this model**: N rollouts per prompt with the base model, graded.

    Reads the prompts and the base model; writes `prompts`, `difficulty` and rollouts of stage `profile`.
    """

    name = "profile"

    def fingerprint(self, session: RunSession) -> str:
        return profile_fingerprint(session.run.config, session.run.base.digest)

    def is_forced(self, session: RunSession) -> bool:
        """A control shares the profile of its run, also the one that --force has just made."""
        return session.force and session.run.control_of is None

    def take_over(self, unit: Unit, owner: str) -> None:
        """The pass rates; the rollouts stay with the run that sampled them."""
        unit.session.store.copy_rows("difficulty", owner, unit.session.run.run_id)

    def work(self, unit: Unit, display: Display) -> Summary:
        """Come by the rollouts or pass rates in the configured way."""
        session, run, shard_prefix = unit.session, unit.session.run, unit.fingerprint[:12]
        content = load_source(run.config.prompts)
        require_clean_examples(run.config)
        session.store.write("prompts", list(content.prompts.values()))
        # Shards of other inputs would count in the pass rates; those of these inputs are an interrupted profile, to be resumed.
        kept = [] if self.is_forced(session) else [shard_prefix]
        session.store.delete_rollout_files(run.run_id, "profile", keep_prefixes=kept)
        origin = run.config.profile.origin
        if origin == "recorded":
            found = _take_recorded(session, content)
        else:
            found = (_sample if origin == "sampled" else _import)(session, content, shard_prefix, display)
            rows = session.store.named("difficulty_from_rollouts", run_id=run.run_id)
            session.store.replace("difficulty", {"run_id": run.run_id}, rows)
        estimates = stored_estimates(session)
        pass_rate = sum(estimate.pass_rate for estimate in estimates) / len(estimates)
        result = {**found, "num_prompts": len(estimates), "mean_pass_rate": pass_rate}
        if origin == "recorded":
            return result
        answered = sum(estimate.num_answered or 0 for estimate in estimates)
        result["answered_fraction"] = answered / sum(estimate.num_rollouts for estimate in estimates)
        missing = missing_answers(session.store, run.run_id, run.config.prompts)
        if missing:
            result["answers"] = missing.text(run.config.prompts.answer_from)
            logger.warning("%s", result["answers"])
        return result

    def show(self, session: RunSession, child: str | None, display: Display) -> None:
        histogram = "\n".join(pass_rate_histogram(stored_estimates(session)))
        text = f"```\n{histogram}\n```"
        display.markdown(session.run.config.name, "pass-rate-histogram", text, "Pass rates of the profiled prompts")


STAGE = Profile()


def _sample(session: RunSession, content: SourceContent, shard_prefix: str, display: Display) -> Summary:
    run, profile = session.run, session.run.config.profile
    prompts: list[Prompt] = list(content.prompts.values())
    prompts_file = run.training_folder() / "profile-prompts.json"
    write_prompts(prompts_file, prompts)
    unit = GenerateUnit(
        run_id=run.run_id,
        stage="profile",
        step=0,
        model=run.base.label,
        source=run.config.prompts,
        prompts_file=str(prompts_file),
        num_samples=profile.num_rollouts,
        limit_tokens=profile.rollout_limit_tokens,
        temperature=profile.temperature,
        top_p=profile.top_p,
        seed=run.config.seed,
        shard_prefix=shard_prefix,
        output_folder=str(run.rollouts_folder("profile")),
    )
    # The filter comes next, and this process waits: half of what a filter takes of a new process is to import a tokenizer.
    if run.base.location:  # a served model has none, and its filter no use for one
        threading.Thread(target=_import_tokenizer, args=(session,), daemon=True).start()
    with display.progress(run.config.name, "profile") as progress:
        job = GenerateJob(units=(unit,))
        result: Summary = generate(session, "profile", job, progress)
    return result


def _import_tokenizer(session: RunSession) -> None:
    with suppress(Exception):  # whoever needs it says what is wrong with it
        load_tokenizer(session.run.base.location, session.run.config)


def _take_recorded(session: RunSession, content: SourceContent) -> Summary:
    """The pass rates that the source carries: no model runs."""
    run, source = session.run, session.run.config.prompts
    if not content.pass_rates:
        raise ValueError(
            f"prompt source {source.name!r} carries no pass rate for the prompts drawn (pass_rate_field = "
            f"{source.pass_rate_field!r}): name the column, or set profile.origin = 'sampled'"
        )
    estimates = recorded_difficulty(run.run_id, content.pass_rates, resolve_source(source).pass_rate_tries)
    session.store.replace("difficulty", {"run_id": run.run_id}, estimates)
    return {"origin": "recorded", "without_pass_rate": len(content.prompts) - len(estimates)}


def _import(session: RunSession, content: SourceContent, shard_prefix: str, _display: Display) -> dict[str, Any]:
    """Rollouts made elsewhere, judged here."""
    run, source = session.run, session.run.config.prompts
    path = Path(run.config.profile.rollouts_file or "").expanduser()
    recorded = read_recorded_rollouts(path)
    models = sorted({rollout.model for rollout in recorded})
    if len(models) > 1:
        raise ValueError(
            f"{path} holds rollouts of several models, whose pass rates would be mixed: keep one of {', '.join(models)}"
        )
    pairs, unmatched = attach_prompts(recorded, list(content.prompts.values()))
    if not pairs:
        raise ValueError(f"{path} holds no rollout of a problem of prompt source {source.name!r}")
    rollouts = judge_recorded(pairs, source, run.run_id, "profile", source.name)
    session.store.write_rollouts(rollouts, run.run_id, "profile", f"{shard_prefix}-imported")
    return {"origin": "imported", "rollouts": len(rollouts), "of_other_problems": unmatched}
