"""Retraining a registered model: what comes next, the gate's decision, the way back. Rows first, then the registry."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.runtime import flow_run

from pipeline_lib.config import RunConfig, laconic_home
from pipeline_lib.promotions.decisions import Decisions, Kind, tracking_of_model
from pipeline_lib.promotions.markdown import decision_page
from pipeline_lib.promotions.plan import plan_retraining
from pipeline_lib.records import Promotion, PromotionBudget
from pipeline_lib.runs.run import Run
from tasks.artifacts import publish_markdown, publish_table

if TYPE_CHECKING:
    from pipeline_lib.store.database import Store


@task(name="plan-retraining", cache_policy=NO_CACHE)
def plan_next(config: RunConfig) -> RunConfig | dict[str, Any]:
    """The configuration of the next retraining; or a decision, where an interrupted one is completed or no prompt is new."""
    with Decisions.opened(config.registered_model, _store(), config.tracking) as decisions:
        reconciled = decisions.reconcile()
        if reconciled and reconciled.kind == "retrain":
            return _publish(reconciled, decisions.budgets(reconciled))
        plan = plan_retraining(config, decisions.champion(), decisions.store)
        if plan.config is None:
            return _publish(decisions.keep_without_prompts(plan, _flow_run_id()), [])
        return plan.config


@task(name="decide-promotion", cache_policy=NO_CACHE)
def decide_promotion(run: Run, kind: Kind) -> dict[str, Any]:
    """Hold a finished run against the champion it was trained from; the champion changes only if the gate says so."""
    with Decisions.opened(run.config.registered_model, _store(), run.config.tracking) as decisions:
        reconciled = decisions.reconcile()
        if reconciled and (reconciled.kind, reconciled.run_id) == (kind, run.run_id):
            return _publish(reconciled, decisions.budgets(reconciled))
        return _publish(*decisions.judge(run, kind, _flow_run_id()))


@task(name="roll-back", cache_policy=NO_CACHE)
def roll_back(model_name: str) -> dict[str, Any]:
    """Make the previous champion of a registered model the champion again."""
    store = _store()
    with Decisions.opened(model_name, store, tracking_of_model(model_name, store)) as decisions:
        reconciled = decisions.reconcile()
        if reconciled and reconciled.kind == "rollback":
            return _publish(reconciled, [])
        return _publish(decisions.roll_back(_flow_run_id()), [])


def finished_run(run_id: str) -> Run:
    """A run by its id, as it was configured. Raises ValueError when there is none, or it is no completed training."""
    rows = _store().named("run", run_id=run_id)
    if not rows:
        raise ValueError(f"no run {run_id!r}: see 'laconic sql \"select run_id, name, status from runs\"'")
    if rows[0]["status"] != "completed" or "train" not in rows[0]["config"]:
        what = "holds recorded rollouts" if "train" not in rows[0]["config"] else f"is {rows[0]['status']}"
        raise ValueError(f"run {run_id!r} {what}: only a completed training can become the champion")
    return Run.stored(rows[0])


def _publish(decision: Promotion, budgets: list[PromotionBudget]) -> dict[str, Any]:
    """Show a decision on Prefect's pages, tell it as an event, and sum it up."""
    name = decision.model_name
    publish_markdown(name, "decision", decision_page(decision, budgets), f"{decision.decision_id}: {decision.decision}")
    if budgets:
        publish_table(name, "gate", [asdict(row) for row in budgets], f"What the gate compared for {decision.decision_id}")
    summary = {
        key: getattr(decision, key)
        for key in ("decision_id", "decision", "cause", "reason", "run_id", "champion_version", "challenger_version")
    }
    summary["champion"] = decision.champion_after
    resource = {"prefect.resource.id": f"laconic.model.{name}", "prefect.resource.name": name}
    emit_event(event=f"laconic.model.{decision.decision}", resource=resource, payload=summary)
    return summary


def _store() -> "Store":
    from pipeline_lib.store.database import Store

    return Store(laconic_home())


def _flow_run_id() -> str | None:
    return str(flow_run.id) if flow_run.id else None
