"""`laconic report RUN…`: several runs on one page, or the usual report of one stored run."""

from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from flows.server.outages import outlive_server
from pipeline_lib.config import laconic_home
from pipeline_lib.runs.run_names import choose_runs
from pipeline_lib.stages import STAGES
from tasks.stage import do_stage
from tasks.write_comparison import compare_runs, stored_sessions


@flow(name="laconic-compare", log_prints=True, on_running=[outlive_server])
def run_comparison(runs: Annotated[list[str], Field(min_length=1)], out: str | None = None) -> dict[str, Any]:
    """Compare several runs on one page; of a single one, write its usual report beside its control.

    Args:
        runs: Run ids, names, unique beginnings of ids, or configuration files; the first is what the others are held against
        out: Folder of the page; empty: reports/compare-DIGEST in the home
    """
    run_ids = choose_runs(laconic_home(), runs)
    if len(run_ids) == 1:
        return do_stage(STAGES["report"], stored_sessions(run_ids[0]))
    return compare_runs(run_ids, out)
