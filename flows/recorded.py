"""The evaluation of recorded rollouts as a flow."""

from typing import Any

from prefect import flow

from flows.runs import flow_run_id
from flows.server.outages import outlive_server
from pipeline_lib.config import RecordedConfig
from tasks.stage import do_recorded_evaluation


@flow(name="laconic-evaluate-recorded", log_prints=True, on_running=[outlive_server])
def run_recorded_evaluation(config: RecordedConfig) -> dict[str, Any]:
    """Score recorded rollouts of any models on any benchmarks at every token budget; no model is needed.

    Args:
        config: The file, its grader, and what of it is judged
    """
    return do_recorded_evaluation(config, flow_run_id())
