"""The budget sweep of recorded rollouts as a task."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipeline_lib.config import RecordedConfig
from pipeline_lib.stages.recorded import evaluate_recorded as evaluate
from tasks.stage import PrefectDisplay


@task(name="evaluate-recorded", cache_policy=NO_CACHE)
def evaluate_recorded(config: RecordedConfig, flow_run_id: str | None = None) -> dict[str, Any]:
    """Judge the recorded rollouts of a file and score every model on every benchmark at every budget."""
    return evaluate(config, PrefectDisplay(), flow_run_id)
