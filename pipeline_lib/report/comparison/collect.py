"""Collects from the store what the comparison of some runs shows."""

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline_lib.evaluation.paired_comparison import TAILS_95, PairedComparison, PromptScores
from pipeline_lib.report.comparison.choosing import choose_prompts
from pipeline_lib.report.comparison.data import ComparedRun, Comparison, Example, PairedDifference, run_keys, run_looks
from pipeline_lib.report.comparison.settings import run_labels
from pipeline_lib.report.data import Row, benchmark_names, grouped, last_trained
from pipeline_lib.rewards.base import Outcomes
from pipeline_lib.runs.rollout_examples import rollout_of_id
from pipeline_lib.store.database import Store

# Of the paired bootstrap.
RESAMPLES = 2000
SEED = 0


def collect_comparison(store: Store, run_ids: Sequence[str]) -> Comparison:
    """Compare some runs; the first is what the others are held against.

    Raises ValueError for a run that is not there, one that is named twice, or one that holds recorded rollouts.
    """
    runs = _compared_runs(store, run_ids)
    samples = store.named("evaluated_samples", run_ids=list(run_ids))
    by_run = {run.key: [row for row in samples if row["run_id"] == run.run_id] for run in runs}
    benchmark = _shared_benchmark(by_run, runs)
    return Comparison(
        runs=runs,
        differences=_differences(runs, by_run),
        examples=_examples(store, runs, by_run, benchmark),
        examples_benchmark=benchmark,
    )


def _compared_runs(store: Store, run_ids: Sequence[str]) -> list[ComparedRun]:
    repeated = sorted({run_id for run_id in run_ids if run_ids.count(run_id) > 1})
    if repeated:
        raise ValueError(f"run {repeated[0]!r} is given twice: a run is not compared with itself")
    wanted = list(run_ids)
    rows = store.named("runs_of_ids", run_ids=wanted)
    missing = sorted(set(wanted) - {row["run_id"] for row in rows})
    if missing:
        raise ValueError(f"run {missing[0]!r} is not in the store: has it run with this LACONIC_HOME?")
    for row in rows:
        if "train" not in row["config"]:
            raise ValueError(
                f"run {row['run_id']!r} holds recorded rollouts and no training: 'laconic results {row['run_id']}' shows it"
            )
    tables = {
        name: store.named(query, run_ids=wanted)
        for name, query in (("curve", "curves_of_runs"), ("alarms", "alarms_of_runs"), ("budgets", "budget_table"))
    }
    keys = dict(zip(wanted, run_keys(len(wanted)), strict=True))
    labels = run_labels([row["name"] for row in rows], wanted, [row["config"] for row in rows])
    return [
        ComparedRun(
            key=keys[row["run_id"]],
            run_id=row["run_id"],
            label=look.label,
            look=look,
            base_model=row["base_model"],
            status=row["status"],
            config=row["config"],
            control_of=keys.get(row["control_of"]),
            phases=store.named("phases_of_run", run_id=row["run_id"]),
            **{name: [item for item in items if item["run_id"] == row["run_id"]] for name, items in tables.items()},
        )
        for row, look in zip(rows, run_looks(labels), strict=True)
    ]


def _last_samples(samples: Sequence[Row], benchmark: str | None = None) -> list[Row]:
    return last_trained([row for row in samples if benchmark in (None, row["benchmark"])])


def _differences(runs: Sequence[ComparedRun], by_run: Mapping[str, Sequence[Row]]) -> list[PairedDifference]:
    first, *others = runs
    found = []
    for other in others:
        shared = {
            benchmark: sorted(_budgets(first, benchmark) & _budgets(other, benchmark))
            for benchmark in benchmark_names(first.last_rows)
        }
        found += paired_differences(_last_samples(by_run[first.key]), _last_samples(by_run[other.key]), shared, other.key)
    return found


def paired_differences(
    first: Sequence[Row], other: Sequence[Row], budgets: Mapping[str, Sequence[int]], key: str
) -> list[PairedDifference]:
    """One per benchmark on which both runs answered some of the same prompts: `other` minus `first`, 95 % bootstrap intervals.

    `first` and `other` are responses (benchmark, prompt_id, num_tokens, finish_reason, correct) of one model each; `budgets` are
    the token budgets of each benchmark, rising. Tokens count up to the largest budget.
    """
    found = []
    for benchmark in benchmark_names(first):
        own_budgets = list(budgets.get(benchmark, ()))
        before, after = (
            grouped([row for row in rows if row["benchmark"] == benchmark], "prompt_id") for rows in (first, other)
        )
        common = sorted(before.keys() & after.keys())
        if not common or not own_budgets:
            continue
        ours, theirs = (_scores([side[prompt] for prompt in common], own_budgets) for side in (before, after))
        paired = PairedComparison(ours, theirs, RESAMPLES, SEED)
        accuracy = dict(zip(own_budgets, paired.accuracy_intervals(TAILS_95), strict=True))
        found.append(PairedDifference(key, benchmark, len(common), accuracy, paired.token_interval(TAILS_95)))
    return found


def _scores(groups: Sequence[Sequence[Row]], budgets: Sequence[int]) -> PromptScores:
    """Prompt by prompt: where files are damaged, some have fewer samples than others."""
    scores = [PromptScores.of(_outcomes(group), budgets) for group in groups]
    return PromptScores(*(np.concatenate(parts) for parts in zip(*scores, strict=True)))


def _outcomes(samples: Sequence[Row]) -> Outcomes:
    finished = [sample["finish_reason"] == "stop" for sample in samples]
    return Outcomes.of([[sample["num_tokens"] for sample in samples]], [[sample["correct"] for sample in samples]], [finished])


def _budgets(run: ComparedRun, benchmark: str) -> set[int]:
    return {row["budget_tokens"] for row in run.last_rows if row["benchmark"] == benchmark}


def _shared_benchmark(by_run: Mapping[str, Sequence[Row]], runs: Sequence[ComparedRun]) -> str:
    """The benchmark that most runs were evaluated on; of several the one that comes first in the configurations."""
    names = dict.fromkeys(
        benchmark["name"] for run in runs for benchmark in run.config.get("evaluate", {}).get("benchmarks", ())
    )
    counts = {name: sum(bool(_last_samples(rows, name)) for rows in by_run.values()) for name in names}
    return max(counts, key=lambda name: counts[name], default="")


def _examples(store: Store, runs: Sequence[ComparedRun], by_run: Mapping[str, Sequence[Row]], benchmark: str) -> list[Example]:
    """Responses to the same problems by the first run's base and by all runs that were evaluated on the benchmark."""
    after = {key: _first_samples(_last_samples(rows, benchmark)) for key, rows in by_run.items()}
    after = {key: rows for key, rows in after.items() if rows}
    bases = [[row for row in rows if row["step"] == 0 and row["benchmark"] == benchmark] for rows in by_run.values()]
    before = _first_samples(next((rows for rows in bases if rows), []))
    choices = choose_prompts(before, after)
    wanted = [rows[choice.prompt_id]["rollout_id"] for choice in choices for rows in (before, *after.values()) if rows]
    found = [row for rollout_id in wanted for row in rollout_of_id(store, rollout_id)]
    whole = {row["rollout_id"]: row for row in found if row["source"] == benchmark}
    answered = {"before RL": before} if before else {}
    answered |= {run.name: after[run.key] for run in runs if run.key in after}
    examples = []
    for choice in choices:
        responses = [(label, whole[rows[choice.prompt_id]["rollout_id"]]) for label, rows in answered.items()]
        problem = responses[0][1]
        examples.append(Example(problem["problem"], problem["reference_answer"], choice.why, responses))
    return examples


def _first_samples(rows: Sequence[Row]) -> dict[str, Row]:
    return {row["prompt_id"]: row for row in rows if row["sample_index"] == 0}
