"""The whole protocol: profile → filter → train (with checkpoints) → evaluate → register → report."""

from functools import partial
from typing import Any

from prefect import Flow, flow

from flows.parameters import NO_CHANGES, Changes, ConfigFile, overrides_of
from flows.runs import HOOKS, Load, load_sessions, opened_runs
from pipeline_lib.stages import STAGES
from pipeline_lib.stages.pipeline import outcome, run_stages
from tasks.stage import do_stage


def pipeline_flow(load: Load = load_sessions) -> Flow[Any, dict[str, Any]]:
    """The flow of all stages; `load` is how it comes by the runs."""

    @flow(name="laconic-pipeline", flow_run_name="{config}", log_prints=True, **HOOKS)
    def run_pipeline(
        config: ConfigFile, changes: Changes = NO_CHANGES, overrides: list[str] | None = None, force: bool = False
    ) -> dict[str, Any]:
        """Run every stage of a configuration file, and of its control; what is stored for the same inputs is not done again.

        Args:
            config: The configuration file
            changes: What is changed in it
            overrides: Further changes, each section.key=value
            force: Do every stage again

        Returns run ids and the report's path.
        """
        load_runs = partial(load, config, overrides_of(changes, overrides), force)
        with opened_runs(load_runs, uses_engine=True, start_early=True) as sessions:
            return outcome(sessions, run_stages(STAGES.values(), sessions, do_stage))

    return run_pipeline


run_pipeline = pipeline_flow()
