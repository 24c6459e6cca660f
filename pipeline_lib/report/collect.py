"""Collects what a report shows from the store: a run, its control, and examples of both ends of training."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline_lib.report.data import ExtraTable, ReportData, Row, RunFacts, RunSeries, last_trained
from pipeline_lib.report.fleet import collect_fleet
from pipeline_lib.report.published import reported_tables
from pipeline_lib.report.watched import restart_notes, watch_notes
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.spent import spent_words
from pipeline_lib.store.database import Store
from pipeline_lib.tiny_world.styles import style_tables

if TYPE_CHECKING:
    from pipeline_lib.preview.comparison import Preview

EXAMPLE_PAIRS = 4


def collect_report(store: Store, run: Run, controls: Sequence[Run], profile: str) -> ReportData:
    """The report of a run beside its controls; `profile` is the fingerprint of its profile."""
    runs = [run, *controls]
    run_ids = [each.run_id for each in runs]
    row, summary = store.named("run", run_id=run.run_id)[0], store.named("run_summary", run_id=run.run_id)[0]
    series = [
        RunSeries(
            each.run_id,
            each.config.reward.name,
            "main" if each is run else "control",
            store.named("training_curve", run_id=each.run_id),
        )
        for each in runs
    ]
    budgets = store.named("budget_table", run_ids=run_ids)
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
            details={
                "git commit": row["git_commit"] or "–",
                "MLflow run": row["mlflow_run_id"] or "–",
                **({"spent": words} if (words := spent_words(store, run)) else {}),
            },
        ),
        series=series,
        budget_results=budgets,
        length_samples=store.named("length_samples", run_ids=run_ids),
        anatomy=store.named("anatomy_of_runs", run_ids=run_ids),
        pass_rates=[estimate["pass_rate"] for estimate in store.named("difficulty_of_run", run_id=run.run_id)],
        preview=None if run.config.is_served else preview_of(store, run, profile),
        stage_durations=store.named("stage_durations", run_id=run.run_id),
        rollout_pairs=example_pairs(store, run),
        extra_tables=[*reported_tables(run.config.evaluate.published, budgets), *tiny_tables(store, runs)],
        fleet=collect_fleet(store, run.run_id),
        notes=[note for each in runs for note in _notes(store, each, "this run" if each is run else "the control")],
    )


def _notes(store: Store, run: Run, who: str) -> list[str]:
    who = f"{who} ({run.config.reward.name})"
    notes = watch_notes(who, store.named("alarms_of_run", run_id=run.run_id), store.named("phases_of_run", run_id=run.run_id))
    return [*notes, *restart_notes(who, store.named("events_of_run", run_id=run.run_id))]


def preview_of(store: Store, run: Run, profile: str) -> "Preview | None":
    """What the first step would see, from the run's profile; None when it has no rollouts, or its subset no prompt."""
    # Computes with torch, which is slow to import.
    from pipeline_lib.preview.comparison import make_preview
    from pipeline_lib.preview.outcomes import NothingToPreviewError, stored_outcomes

    try:
        return make_preview(run.config, stored_outcomes(store, run, profile))
    except NothingToPreviewError:
        return None


def example_pairs(store: Store, run: Run) -> list[tuple[Row, Row]]:
    """Responses to the same problems before and after, spread over the lengths that they had before."""
    where = {"run_id": run.run_id, "source": run.config.evaluate.benchmarks[0].name}
    before, after = _ends(store.named("evaluated_first_lengths", **where))
    common = sorted(before.keys() & after.keys(), key=lambda prompt_id: (before[prompt_id]["num_tokens"], prompt_id))
    chosen = (
        [common[round(index * (len(common) - 1) / (EXAMPLE_PAIRS - 1))] for index in range(EXAMPLE_PAIRS)] if common else []
    )
    rows = store.named("evaluated_texts", **where, prompt_ids=list(dict.fromkeys(chosen)))
    before, after = _ends([row for row in rows if row["sample_index"] == 0])
    return [(before[prompt_id], after[prompt_id]) for prompt_id in dict.fromkeys(chosen)]


def _ends(rows: Sequence[Row]) -> tuple[dict[str, Row], dict[str, Row]]:
    before, after = [row for row in rows if row["step"] == 0], last_trained(rows)
    return {row["prompt_id"]: row for row in before}, {row["prompt_id"]: row for row in after}


def tiny_tables(store: Store, runs: Sequence[Run]) -> list[ExtraTable]:
    """For benchmarks of the tiny world: how the responses are written, and which lines are right."""
    tables = []
    for benchmark in runs[0].config.evaluate.benchmarks:
        if benchmark.kind != "tiny":
            continue
        labelled: dict[str, list[tuple[str, str]]] = {}
        for run in runs:
            for row in store.named("evaluated_texts", run_id=run.run_id, source=benchmark.name, prompt_ids=None):
                label = "before RL" if row["step"] == 0 else f"after RL ({run.config.reward.name})"
                labelled.setdefault(label, []).append((row["problem"], row["text"]))
        tables += [
            ExtraTable(f"{title} · {benchmark.name}", columns, rows, note)
            for title, columns, rows, note in style_tables(labelled)
        ]
    return tables
