"""What the page of a finding is made from: the recorded child runs of an experiment, read from the store."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline_lib.config import RunConfig, stored_config
from pipeline_lib.experiments.metrics import style_shares, training_texts
from pipeline_lib.experiments.specification import Arm, ExperimentConfig
from pipeline_lib.report.data import Row, grouped
from pipeline_lib.runs.run import Run
from pipeline_lib.store.database import Store

# Styles of the tiny world by what they are for the reward: short and long ways of working, answers without any, and the rest.
STYLE_GROUPS = {"short": ("table", "fold"), "long": ("count", "verbose"), "skip": ("skip",), "other": ("other",)}


@dataclass(frozen=True, slots=True)
class ChildResult:
    """One recorded child run. `curve`: rows of training_steps, with style.short, .long, .skip and .other where known."""

    arm: Arm
    seed: int
    run_id: str
    seconds: float
    config: RunConfig
    metrics: Mapping[str, float | None]
    curve: Sequence[Row]
    budgets: Sequence[Row]
    alarms: Sequence[Row]


@dataclass(frozen=True, slots=True)
class ExperimentResults:
    """The child runs that are there, in the order of the arms, then of the seeds."""

    experiment: ExperimentConfig
    seeds: tuple[int, ...]
    children: tuple[ChildResult, ...]

    @property
    def missing(self) -> list[tuple[str, int]]:
        there = {(child.arm.name, child.seed) for child in self.children}
        return [(arm.name, seed) for arm in self.experiment.arms for seed in self.seeds if (arm.name, seed) not in there]

    def of_arm(self, arm: str) -> list[ChildResult]:
        return [child for child in self.children if child.arm.name == arm]

    def values(self) -> dict[tuple[str, str], dict[int, float]]:
        """(arm, metric) -> seed -> value; what is not defined is left out."""
        table: dict[tuple[str, str], dict[int, float]] = {}
        for child in self.children:
            for metric, value in child.metrics.items():
                if value is not None and math.isfinite(value):
                    table.setdefault((child.arm.name, metric), {})[child.seed] = value
        return table


def collect_results(store: Store, experiment: ExperimentConfig, seeds: Sequence[int]) -> ExperimentResults:
    """Read the child runs of the experiment's arms at some seeds; those that are not recorded are left out."""
    arms = {arm.name: arm for arm in experiment.arms}
    rows = [
        row
        for row in store.named("experiment_children", experiment=experiment.name)
        if row["status"] == "completed" and row["arm"] in arms and row["seed"] in seeds
    ]
    rows.sort(key=lambda row: (list(arms).index(row["arm"]), row["seed"]))
    run_ids = [row["run_id"] for row in rows]
    metrics: dict[tuple[str, int], dict[str, float | None]] = {}
    for row in store.named("experiment_metrics", experiment=experiment.name):
        metrics.setdefault((row["arm"], row["seed"]), {})[row["metric"]] = row["value"]
    configs = {row["run_id"]: row["config"] for row in store.named("configs_of_runs", run_ids=run_ids)}
    tables = {
        name: grouped(store.named(name, run_ids=run_ids), "run_id")
        for name in ("curves_of_runs", "budget_table", "alarms_of_runs")
    }
    children = []
    for row in rows:
        run_id, config = row["run_id"], stored_config(configs[row["run_id"]], RunConfig)
        in_order = [benchmark.name for benchmark in config.evaluate.benchmarks]  # the first is in front
        child = ChildResult(
            arm=arms[row["arm"]],
            seed=row["seed"],
            run_id=run_id,
            seconds=row["seconds"] or 0.0,
            config=config,
            metrics=metrics.get((row["arm"], row["seed"]), {}),
            curve=_with_styles(store, tables["curves_of_runs"].get(run_id, []), config),
            budgets=sorted(tables["budget_table"].get(run_id, []), key=lambda budget: in_order.index(budget["benchmark"])),
            alarms=tables["alarms_of_runs"].get(run_id, []),
        )
        children.append(child)
    return ExperimentResults(experiment, tuple(seeds), tuple(children))


def _with_styles(store: Store, curve: Sequence[Row], config: RunConfig) -> list[Row]:
    """The curve with the share of each group of styles among the step's rollouts, where they are of the tiny world."""
    if config.prompts.kind != "tiny":
        return list(curve)
    shares = style_shares(training_texts(store, Run.of(config)))
    rows: list[Row] = []
    for row in curve:
        own: dict[str, Any] = shares.get(row["step"], {})
        styles = {f"style.{group}": sum(own[style] for style in styles) for group, styles in STYLE_GROUPS.items() if own}
        rows.append({**row, **styles})
    return rows
