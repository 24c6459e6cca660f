"""The report stage: one self-contained HTML page and PNGs, linked in Prefect and kept in MLflow."""

import time
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipeline_lib.report.collect import collect_report
from pipeline_lib.report.html import write_report as write_html
from pipeline_lib.runs.session import RunSession
from tasks.artifacts import publish_image, publish_page


@task(name="report", cache_policy=NO_CACHE)
def write_report(run: RunSession, controls: list[RunSession]) -> dict[str, Any]:
    """Write the report of a run beside its controls; what is not there yet is named in a sentence."""
    started = time.monotonic()
    page = write_html(collect_report(run, controls), run.report_folder())
    pictures = sorted(run.report_folder().glob("*.png"))
    for picture in pictures:
        publish_image(run.config.name, picture, picture.stem.replace("_", " "))
    child = run.tracker.start_child(run.mlflow_run_id, "report")
    run.tracker.log_artifacts(child, [page, *pictures], "report")
    publish_page(run.config.name, page, run.tracker.run_address(child))
    run.tracker.finish(child)
    run.record_stage("report", "", run.fingerprint("train"), time.monotonic() - started, {"path": str(page)})
    return {"report": str(page)}
