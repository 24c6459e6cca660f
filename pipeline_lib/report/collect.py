"""Collects what a report shows from the store: a run, its control, and examples of both ends of training."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline_lib.report.data import ExtraTable, ReportData, RolloutPair, RunFacts, RunSeries
from pipeline_lib.report.watched import alarm_sentence, phases_sentence
from pipeline_lib.runs.session import RunSession
from pipeline_lib.tiny_world.styles import style_tables

if TYPE_CHECKING:
    from pipeline_lib.preview import Preview

EXAMPLE_PAIRS = 4


def collect_report(run: RunSession, controls: Sequence[RunSession] = ()) -> ReportData:
    """The report of a run beside its controls."""
    sessions = [run, *controls]
    run_ids = [session.run_id for session in sessions]
    row, summary = run.store.named("run", run_id=run.run_id)[0], run.store.named("run_summary", run_id=run.run_id)[0]
    series = [
        RunSeries(
            session.run_id,
            session.config.reward.name,
            "main" if session is run else "control",
            session.store.named("training_curve", run_id=session.run_id),
        )
        for session in sessions
    ]
    budgets = run.store.named("budget_table", run_ids=run_ids)
    order = [benchmark.name for benchmark in run.config.evaluate.benchmarks]
    budgets.sort(key=lambda point: (run_ids.index(point["run_id"]), order.index(point["benchmark"])))
    return ReportData(
        run=RunFacts(
            run_id=run.run_id,
            name=run.config.name,
            base_model=run.base.label,
            # While the pipeline that writes the report is still running, everything that the report shows is done.
            status="completed" if row["status"] == "running" and budgets else row["status"],
            started_at=row["started_at"],
            duration_seconds=summary["seconds"],
            target_tokens=run.config.reward.target_tokens,
            config_text=json.dumps(run.config.model_dump(mode="json"), indent=2),
            details={"git commit": row["git_commit"] or "–", "MLflow run": row["mlflow_run_id"] or "–"},
        ),
        series=series,
        budget_results=budgets,
        length_samples=run.store.named("length_samples", run_ids=run_ids),
        pass_rates=[estimate["pass_rate"] for estimate in run.store.named("difficulty_of_run", run_id=run.run_id)],
        preview=preview_of(run),
        stage_durations=run.store.named("stage_durations", run_id=run.run_id),
        rollout_pairs=example_pairs(run),
        extra_tables=tiny_tables(sessions),
        notes=watch_notes(run, controls),
    )


def watch_notes(run: RunSession, controls: Sequence[RunSession]) -> list[str]:
    """A sentence an alarm and one on the two stages, for the run and then for its controls; empty where nothing was found."""
    notes: list[str] = []
    for session in (run, *controls):
        reward = session.config.reward.name
        who = f"this run ({reward})" if session is run else f"the control ({reward})"
        notes += [alarm_sentence(who, alarm) for alarm in session.store.named("alarms_of_run", run_id=session.run_id)]
        stages = phases_sentence(who, session.store.named("phases_of_run", run_id=session.run_id))
        notes += [stages] if stages else []
    return notes


def preview_of(run: RunSession) -> "Preview | None":
    """What the first step would see, from the run's profile; None when it has no rollouts, or its subset no prompt."""
    # Computes with torch, which is slow to import.
    from pipeline_lib.preview import NothingToPreviewError, make_preview, stored_outcomes

    try:
        return make_preview(run.config, stored_outcomes(run))
    except NothingToPreviewError:
        return None


def example_pairs(run: RunSession) -> list[RolloutPair]:
    """Responses to the same problems before and after, spread over the lengths that they had before."""
    rows = run.store.named("evaluated_texts", run_id=run.run_id, source=run.config.evaluate.benchmarks[0].name)
    last = max((row["step"] for row in rows), default=0)
    first_samples = [row for row in rows if row["sample_index"] == 0]
    before = {row["prompt_id"]: row for row in first_samples if row["step"] == 0}
    after = {row["prompt_id"]: row for row in first_samples if row["step"] == last and last > 0}
    common = sorted(before.keys() & after.keys(), key=lambda prompt_id: before[prompt_id]["num_tokens"])
    chosen = (
        [common[round(index * (len(common) - 1) / (EXAMPLE_PAIRS - 1))] for index in range(EXAMPLE_PAIRS)] if common else []
    )
    return [_pair(before[prompt_id], after[prompt_id]) for prompt_id in dict.fromkeys(chosen)]


def _pair(before: dict[str, Any], after: dict[str, Any]) -> RolloutPair:
    return RolloutPair(
        problem=before["problem"],
        answer=before["answer"],
        before_text=before["text"],
        before_correct=before["correct"],
        before_tokens=before["num_tokens"],
        after_text=after["text"],
        after_correct=after["correct"],
        after_tokens=after["num_tokens"],
    )


def tiny_tables(sessions: Sequence[RunSession]) -> list[ExtraTable]:
    """For benchmarks of the tiny world: how the responses are written, and which lines are right."""
    tables = []
    for benchmark in sessions[0].config.evaluate.benchmarks:
        if benchmark.kind != "tiny":
            continue
        labelled: dict[str, list[tuple[str, str]]] = {}
        for session in sessions:
            for row in session.store.named("evaluated_texts", run_id=session.run_id, source=benchmark.name):
                label = "before RL" if row["step"] == 0 else f"after RL ({session.config.reward.name})"
                labelled.setdefault(label, []).append((row["problem"], row["text"]))
        tables += [
            ExtraTable(f"{title} · {benchmark.name}", columns, rows, note)
            for title, columns, rows, note in style_tables(labelled)
        ]
    return tables
