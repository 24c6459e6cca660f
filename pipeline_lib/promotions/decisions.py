"""Decisions about the champion of a registered model: written down first, then carried out in the registry.

The row is the journal. A crash between the row and the aliases leaves a row without `applied_at`; whatever command comes next
for the model carries it out first, and moving an alias twice changes nothing. So both always end as the row says.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from pipeline_lib.config import GateConfig, TrackingConfig, stored_config
from pipeline_lib.evaluation.gate import GateVerdict, judge_challenger
from pipeline_lib.evaluation.paired_comparison import BudgetComparison
from pipeline_lib.files.home import below
from pipeline_lib.processes import lock_run
from pipeline_lib.promotions.plan import CHAMPION, PREVIOUS, RetrainingPlan
from pipeline_lib.records import Promotion, PromotionBudget, Rollout
from pipeline_lib.runs.base_model import check_model_name
from pipeline_lib.runs.run import Run
from pipeline_lib.store.rollout_files import read_stage_rollouts
from pipeline_lib.tracking import Registry

if TYPE_CHECKING:
    from pipeline_lib.store.database import Store

Kind = Literal["retrain", "promote"]
LOCK_SECONDS = 30.0  # a decision is a matter of seconds


class Decisions:
    """The decisions about one registered model, and its registry. One process at a time works on them (`opened`)."""

    def __init__(self, model_name: str, store: "Store", registry: Registry) -> None:
        self.model_name, self.store, self.registry = model_name, store, registry

    @classmethod
    @contextmanager
    def opened(cls, model_name: str, store: "Store", tracking: TrackingConfig) -> Iterator["Decisions"]:
        """Hold the model's decisions for this process.

        Raises RegistryUnreachableError before anything is touched, ValueError when another process decides for long, or for what
        is no name of a model.
        """
        check_model_name(model_name)
        decisions = cls(model_name, store, Registry(tracking, store.home))
        decisions.registry.aliases(model_name)
        with _lock(store.home, model_name):
            yield decisions

    def history(self) -> list[Promotion]:
        """All decisions, oldest first."""
        names = [field.name for field in fields(Promotion)]
        rows = self.store.named("promotions_of_model", model_name=self.model_name)
        return [Promotion(**{name: row[name] for name in names}) for row in rows]

    def reconcile(self) -> Promotion | None:
        """Carry out a decision whose aliases an interrupted command did not move; None when there is none."""
        pending = [decision for decision in self.history() if decision.applied_at is None]
        return [self._apply(decision) for decision in pending][-1] if pending else None

    def champion(self) -> int | None:
        return self.registry.aliases(self.model_name).get(CHAMPION)

    def judge(self, run: Run, kind: Kind, flow_run_id: str | None) -> tuple[Promotion, list[PromotionBudget]]:
        """Hold the registered checkpoint of a finished run against what it was trained from, and act on the verdict.

        A retraining that was decided before keeps its decision. When the champion has changed since the run began, a
        retraining is kept as it is and a promotion by hand is refused with ValueError.
        """
        if kind == "retrain":
            made = [each for each in self.history() if (each.run_id, each.kind) == (run.run_id, kind)]
            if made:
                return made[-1], self.budgets(made[-1])
        aliases = self.registry.aliases(self.model_name)
        checkpoint = self._registered_checkpoint(run)
        champion = aliases.get(CHAMPION)
        changed = self._changed(run.config.base_model, champion, checkpoint["model_version"])
        if changed and kind == "promote":
            raise ValueError(f"run {run.run_id} cannot be promoted: {changed}")
        known: dict[str, Any] = {
            "kind": kind,
            "run_id": run.run_id,
            "base_model": run.config.base_model,
            "challenger_version": checkpoint["model_version"],
            "challenger_step": checkpoint["step"],
            "prefect_flow_run_id": flow_run_id,
            "mlflow_run_id": self.store.named("run", run_id=run.run_id)[0]["mlflow_run_id"],
        }
        if changed:
            return self._record(aliases, decision="kept", cause="champion_changed", reason=f"Not compared: {changed}.", **known)
        rules = run.config.retrain.gate if run.config.retrain else GateConfig()
        verdict = _verdict(self.store, run, checkpoint["step"], rules)
        known |= _figures(verdict, rules)
        decision = "promoted" if verdict.promoted else "kept"
        return self._record(aliases, verdict, decision=decision, cause=verdict.cause, reason=verdict.reason, **known)

    def keep_without_prompts(self, plan: RetrainingPlan, flow_run_id: str | None) -> Promotion:
        """Note a retraining for which there was nothing new to train on."""
        reason = "Nothing was trained: every prompt of the source has been profiled by an earlier run of this model."
        decision, _ = self._record(
            self.registry.aliases(self.model_name),
            kind="retrain",
            decision="kept",
            cause="no_new_prompts",
            reason=reason,
            base_model=plan.base_model,
            prefect_flow_run_id=flow_run_id,
        )
        return decision

    def roll_back(self, flow_run_id: str | None) -> Promotion:
        """Make the previous champion the champion again. Raises ValueError when there is nothing to go back to."""
        aliases = self.registry.aliases(self.model_name)
        champion, previous = aliases.get(CHAMPION), aliases.get(PREVIOUS)
        if champion is None:
            raise ValueError(f"model {self.model_name!r} has no champion in the registry at {self.registry.uri}")
        if previous is None or previous == champion:
            raise ValueError(
                f"model {self.model_name!r}: there is nothing to go back to from version {champion} (no alias {PREVIOUS!r})"
            )
        before = self._previous_of(previous)
        reason = f"Rolled back by hand from version {champion} to version {previous}."
        decision, _ = self._record(
            aliases,
            kind="rollback",
            decision="rolled_back",
            cause="rollback",
            reason=reason,
            challenger_version=previous,
            champion_after=previous,
            previous_after=before,
            prefect_flow_run_id=flow_run_id,
        )
        return decision

    def budgets(self, decision: Promotion) -> list[PromotionBudget]:
        """What the gate compared for a decision; empty where it compared nothing."""
        rows = self.store.named("promotion_budgets", decision_id=decision.decision_id)
        return [PromotionBudget(**row) for row in rows]

    def _registered_checkpoint(self, run: Run) -> dict[str, Any]:
        rows = self.store.named("checkpoints_of_run", run_id=run.run_id)
        registered = [row for row in rows if row["is_best"] and row["model_name"] == self.model_name and row["model_version"]]
        if not registered:
            raise ValueError(
                f"run {run.run_id} has no version of {self.model_name!r} in the registry (was MLflow out of reach?): repeat the "
                "retraining, or run 'laconic register' with the run's configuration"
            )
        return registered[-1]

    def _previous_of(self, version: int) -> int | None:
        """What the alias previous was when this version last became champion, as far as the decisions tell."""
        made = [each for each in self.history() if each.champion_after == version != each.champion_version]
        return made[-1].previous_after if made else None

    def _changed(self, base_model: str, champion: int | None, challenger: int) -> str | None:
        """Why a run does not compare with the champion; None when it does."""
        if champion == challenger:
            return f"version {challenger} is the champion already"
        if champion is not None and base_model != f"models:/{self.model_name}/{champion}":
            return (
                f"it was trained from and compared with {base_model}, but the champion is version {champion} (train with "
                f"base_model = 'models:/{self.model_name}@{CHAMPION}')"
            )
        return None

    def _record(
        self, aliases: dict[str, int], verdict: GateVerdict | None = None, **known: Any
    ) -> tuple[Promotion, list[PromotionBudget]]:
        """Write a decision down, then move the aliases."""
        number = max((each.number for each in self.history()), default=0) + 1
        champion = aliases.get(CHAMPION)
        after: dict[str, int | None] = {"champion_after": champion, "previous_after": aliases.get(PREVIOUS)}
        if known["decision"] == "promoted":
            after = {"champion_after": known["challenger_version"], "previous_after": champion}
        decision = Promotion(
            decision_id=f"{self.model_name}/{number}",
            model_name=self.model_name,
            number=number,
            decided_at=datetime.now(UTC),
            champion_version=champion,
            **(after | known),
        )
        compared = verdict.comparisons if verdict else ()
        budgets = [_budget_row(decision.decision_id, each) for each in compared]
        # What it was compared by stands before the decision does.
        self.store.replace("promotion_budgets", {"decision_id": decision.decision_id}, budgets)
        self.store.write("promotions", [decision])
        return self._apply(decision), budgets

    def _apply(self, decision: Promotion) -> Promotion:
        if decision.decision != "kept":
            # The way back is there before the new champion is.
            aliases = {PREVIOUS: decision.previous_after, CHAMPION: decision.champion_after}
            self.registry.move_aliases(self.model_name, aliases)
        applied = replace(decision, applied_at=datetime.now(UTC))
        self.store.write("promotions", [applied])
        return applied


def _lock(home: Path, model_name: str) -> IO[str]:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return lock_run(home, f"decisions-{model_name}")
        except ValueError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def tracking_of_model(model_name: str, store: "Store") -> TrackingConfig:
    """The [tracking] of the newest run that trains a registered model; the defaults when there is none."""
    rows = store.named("runs_of_model", model_name=model_name)
    return stored_config(rows[0]["config"]["tracking"], TrackingConfig) if rows else TrackingConfig()


def _verdict(store: "Store", run: Run, step: int, rules: GateConfig) -> GateVerdict:
    benchmarks = [
        source.name for source in run.config.evaluate.benchmarks if source.name in (rules.benchmarks or [source.name])
    ]
    return judge_challenger(
        evaluation_rollouts(store, run, 0, benchmarks),
        evaluation_rollouts(store, run, step, benchmarks),
        rules.budgets_tokens or run.config.evaluate.budgets_tokens,
        rules,
        run.config.seed,
    )


def evaluation_rollouts(store: "Store", run: Run, step: int, benchmarks: list[str]) -> dict[str, list[Rollout]]:
    """The rollouts of one model of a run (step 0: its base) on each benchmark.

    They may lie with another run that evaluated the same model before. Raises ValueError when it was not evaluated, or its
    files are gone.
    """
    done = {row["unit"]: row for row in store.named("stage_results_of_run", run_id=run.run_id, stage="evaluate")}
    found = {}
    for benchmark in benchmarks:
        unit = f"step-{step:05d}/{benchmark}"
        if unit not in done:
            raise ValueError(
                f"run {run.run_id} has no evaluation of step {step} on {benchmark!r}, so there is nothing to judge by: "
                "run 'laconic evaluate' with its configuration first"
            )
        fingerprint = done[unit]["fingerprint"]
        owners = store.named("stage_result_owner", stage="evaluate", unit=unit, fingerprint=fingerprint)
        folders = [run.rollouts_folder("evaluate"), *(below(run.home, "rollouts", row["run_id"], "evaluate") for row in owners)]
        prefix = f"{benchmark}-{step:05d}-{fingerprint[:12]}-"
        found[benchmark] = next((rollouts for folder in folders if (rollouts := read_stage_rollouts(folder, prefix))), [])
        if not found[benchmark]:
            raise ValueError(
                f"the evaluation rollouts of step {step} of run {run.run_id} on {benchmark!r} are gone: run 'laconic evaluate "
                "--force' with its configuration"
            )
    return found


def _figures(verdict: GateVerdict, rules: GateConfig) -> dict[str, Any]:
    """The columns of a decision that the gate's verdict fills."""
    intervals = {"token_difference": ("token", verdict.tokens), "token_change": ("token_change", verdict.token_change)}
    intervals["accuracy_difference"] = ("accuracy", verdict.accuracy)
    columns: dict[str, Any] = {
        "num_prompts": verdict.num_prompts,
        "accuracy_margin": rules.accuracy_margin,
        "confidence": rules.confidence,
    }
    for column, (prefix, interval) in intervals.items():
        columns |= {column: interval.value, f"{prefix}_ci_low": interval.low, f"{prefix}_ci_high": interval.high}
    return columns


def _budget_row(decision_id: str, each: BudgetComparison) -> PromotionBudget:
    accuracies = (each.champion, each.challenger, *each.difference)
    return PromotionBudget(decision_id, each.benchmark, each.budget_tokens, each.num_prompts, *accuracies, each.passed)
