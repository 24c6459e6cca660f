"""The filter stage: which of the profiled prompts are trained on, with a reason for each."""

from collections import Counter

from pipeline_lib.config import RunConfig, digest
from pipeline_lib.prompts import load_source
from pipeline_lib.prompts.local_copies import source_identity
from pipeline_lib.records import DifficultyEstimate, Selection
from pipeline_lib.runs.session import RunSession
from pipeline_lib.selection.training_prompts import contaminating_sources, overlong_prompts, select_training_prompts
from pipeline_lib.stages import profile
from pipeline_lib.stages.display import Display
from pipeline_lib.stages.profile import profile_fingerprint, stored_estimates
from pipeline_lib.stages.runner import run_stage
from pipeline_lib.stages.stage import StageOfRuns, Summary, Unit


def filter_fingerprint(config: RunConfig, base_digest: str) -> str:
    """Digest of the profile, the rule, and what training must stay clear of."""
    rule = config.filter.model_dump(mode="json", exclude={"cleaning": {"benchmarks"}})
    clear_of = [source_identity(source) for source in contaminating_sources(config)]
    return digest(["filter", profile_fingerprint(config, base_digest), rule, config.generation.max_prompt_tokens, clear_of])


class Filter(StageOfRuns):
    """**Which prompts are trained on**: cleaning, then the pass rate (easy, hard, all, a band).

    Reads `difficulty` and the prompts; writes `selections`, a reason for every prompt. Runs no model.
    """

    name = "filter"
    leaves_files = False  # rows are replaced at once; and training depends on what the record says was selected
    takes_over = False  # to select again costs seconds

    def fingerprint(self, session: RunSession) -> str:
        return filter_fingerprint(session.run.config, session.run.base.digest)

    def work(self, unit: Unit, display: Display) -> Summary:
        """Select. Raises ValueError when the run has no profile, or nothing is selected."""
        session, run = unit.session, unit.session.run
        if run.config.profile.origin != "sampled":  # needs no model, so that a filter alone can be asked for
            run_stage(profile.STAGE, [session], display)
        estimates = stored_estimates(session)
        if not estimates:
            raise ValueError(
                f"run {run.run_id} has no difficulty profile yet: run 'laconic profile' with the same configuration first"
            )
        selections = _select(session, estimates)
        session.store.replace("selections", {"run_id": run.run_id}, selections)
        selected = sorted(selection.prompt_id for selection in selections if selection.selected)
        by_rate = ("pass_rate", "no_pass_rate")
        counts = Counter(each.subset if each.cause in by_rate else "cleaned_out" for each in selections)
        return {
            "num_prompts": len(selections),
            "num_selected": len(selected),
            **{f"num_{name}": count for name, count in sorted(counts.items())},
            "selection_digest": digest(selected)[:16],
        }

    def show(self, session: RunSession, child: str | None, display: Display) -> None:
        table = session.store.named("selection_causes", run_id=session.run.run_id)
        display.table(session.run.config.name, "selection", table, "Which prompts were selected, and why")


STAGE = Filter()


def _select(session: RunSession, estimates: list[DifficultyEstimate]) -> list[Selection]:
    run = session.run
    content = load_source(run.config.prompts)
    session.store.write("prompts", [left.prompt for left in content.left_out])
    too_long = overlong_prompts(run.config, run.base.location, list(content.prompts.values()))
    return select_training_prompts(run.config, run.run_id, content, estimates, too_long)
