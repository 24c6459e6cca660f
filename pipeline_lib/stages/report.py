"""The report stage: one self-contained HTML page and PNGs about a run beside its control, kept in MLflow as well."""

from collections.abc import Sequence

from pipeline_lib.report.collect import collect_report
from pipeline_lib.report.html import write_report
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages.display import Display
from pipeline_lib.stages.profile import profile_fingerprint
from pipeline_lib.stages.stage import StageOfRuns, Summary, Unit
from pipeline_lib.stages.train import stored_fingerprint


class Report(StageOfRuns):
    """**The page about one run and its control**: figures, tables, example responses; one HTML file.

    Reads everything stored about the run; writes `reports/RUN_ID/`, images here, and artifacts in MLflow.
    """

    name = "report"
    repeats = True

    def fingerprint(self, session: RunSession) -> str:
        return stored_fingerprint(session.run, session.ledger)

    def units(self, sessions: Sequence[RunSession]) -> list[Unit]:
        """The first run, beside the others."""
        return [Unit(sessions[0], self.fingerprint(sessions[0]), beside=sessions[1:])]

    def work(self, unit: Unit, display: Display) -> Summary:
        run, controls = unit.session.run, [control.run for control in unit.beside]
        profile = profile_fingerprint(run.config, run.base.digest)
        page = write_report(collect_report(unit.session.store, run, controls, profile), run.report_folder())
        return {"path": str(page)}

    def sum_up(self, results: Sequence[Summary]) -> Summary:
        return {"report": results[0]["path"]}

    def send(self, session: RunSession, child: str | None) -> None:
        folder = session.run.report_folder()
        session.tracker.log_artifacts(child, [folder / "report.html", *sorted(folder.glob("*.png"))], "report")

    def show(self, session: RunSession, child: str | None, display: Display) -> None:
        name, folder = session.run.config.name, session.run.report_folder()
        for picture in sorted(folder.glob("*.png")):
            display.picture(name, picture, picture.stem.replace("_", " "))
        display.page(name, folder / "report.html", session.tracker.run_address(child))


STAGE = Report()
