"""The whole protocol as a flow: profile → filter → train (with checkpoints) → evaluate → register → report."""

from typing import Any

from prefect import Flow

from flows.runs import Load, load_sessions
from flows.stages import make_flow
from pipeline_lib.stages.pipeline import run_whole
from tasks.stage import do_stage

HELP = "Run every stage of a configuration file, and of its control; what is stored for the same inputs is not done again."


def pipeline_flow(load: Load = load_sessions) -> Flow[Any, Any]:
    """The flow of all stages; `load` is how it comes by the runs. It returns their ids and the report's path."""
    return make_flow("pipeline", HELP, lambda sessions: run_whole(sessions, do_stage), load, start_early=True)


run_pipeline = pipeline_flow()
