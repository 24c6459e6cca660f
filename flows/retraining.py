"""Retraining with a gate: profile → filter → train from the champion → evaluate both → decide; and the way back."""

from collections.abc import Callable
from typing import Any

from prefect import Flow, flow

from flows.parameters import RetrainConfigFile
from flows.runs import HOOKS, opened_in_flow
from flows.server.gpu_limit import accelerator_slot
from flows.server.outages import outlive_server
from flows.server.termination import noticing_termination
from pipeline_lib.config import RunConfig, laconic_home, load_config
from pipeline_lib.processes import lock_run
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages.pipeline import run_whole
from tasks.decide_promotion import decide_promotion, finished_run, plan_next, roll_back
from tasks.stage import do_stage


def retraining_flow(load: Callable[[str, list[str]], RunConfig] = load_config) -> Flow[Any, dict[str, Any]]:
    """The flow of a retraining; `load` is how it comes by its configuration."""

    @flow(name="laconic-retrain", flow_run_name="{config}", log_prints=True, **HOOKS)
    def run_retraining(config: RetrainConfigFile, overrides: list[str] | None = None, force: bool = False) -> dict[str, Any]:
        """Train from the champion of the registered model, and make the result the champion if it passes the gate.

        Args:
            config: The configuration file; it has a section [retrain]
            overrides: Changes, each section.key=value
            force: Do the stages again even when results for the same inputs are stored

        Returns the decision. An interrupted retraining is resumed: start it again with the same parameters.
        """
        settings = load(config, overrides or [])
        # Two retrainings of a model at once would train from the same champion.
        with noticing_termination(), accelerator_slot(), lock_run(laconic_home(), f"retraining-{settings.registered_model}"):
            planned = plan_next(settings)
            if not isinstance(planned, RunConfig):
                return planned
            session = RunSession(Run.of(planned), force)
            with opened_in_flow([session]):
                run_whole([session], do_stage)
                return decide_promotion(session.run, "retrain")

    return run_retraining


run_retraining = retraining_flow()


@flow(name="laconic-promote", flow_run_name="{run_id}", log_prints=True, on_running=[outlive_server])
def run_promotion(run_id: str) -> dict[str, Any]:
    """Hold a finished run against the champion it was trained from, and make it the champion if it passes the gate.

    Args:
        run_id: A run that is evaluated and registered
    """
    return decide_promotion(finished_run(run_id), "promote")


@flow(name="laconic-rollback", flow_run_name="{model}", log_prints=True, on_running=[outlive_server])
def run_rollback(model: str) -> dict[str, Any]:
    """Make the previous champion of a registered model the champion again.

    Args:
        model: Name of the model in the registry
    """
    return roll_back(model)
