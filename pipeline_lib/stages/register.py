"""The register stage: the best checkpoint becomes a version in the MLflow registry, under the alias `challenger`."""

from pathlib import Path

from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages.display import Display
from pipeline_lib.stages.stage import Postponed, StageOfRuns, Summary, Unit
from pipeline_lib.stages.train import stored_fingerprint
from pipeline_lib.training.checkpoint_files import require_adapter, require_model

ALIAS = "challenger"


class Register(StageOfRuns):
    """**The best checkpoint becomes a version in the MLflow registry**, alias `challenger`, with tags that lead back to the run.
    With LoRA the version's folder holds the merged model, and in `adapter/` what was trained.

    Reads `checkpoints`; writes `checkpoints.model_name` and `model_version`.
    """

    name = "register"
    repeats = True

    def fingerprint(self, session: RunSession) -> str:
        return stored_fingerprint(session.run, session.ledger)

    def work(self, unit: Unit, display: Display) -> Summary:
        """Register the best checkpoint; with MLflow out of reach, say so and go on."""
        session, run = unit.session, unit.session.run
        best = [row for row in session.store.named("checkpoints_of_run", run_id=run.run_id) if row["is_best"]]
        if not best:
            raise ValueError(f"run {run.run_id} has no checkpoint yet: run 'laconic train' with the same configuration first")
        checkpoint = best[-1]
        folder = Path(checkpoint["path"])
        model, adapter = require_model(folder, run.run_id), require_adapter(folder, run.run_id)
        row = session.ledger.row
        tags = {
            "laconic.run_id": run.run_id,
            "laconic.step": checkpoint["step"],
            "laconic.control_of": run.control_of or "",
            "prefect.flow_run_id": (row and row["prefect_flow_run_id"]) or "",
        }
        source = session.child(self.name) or session.mlflow_run_id
        version = session.tracker.register_model(model, run.config.registered_model, source, ALIAS, tags, adapter)
        if version is None:
            return Postponed(registered=False)
        registered = {**checkpoint, "model_name": version.name, "model_version": int(version.version)}
        session.store.write("checkpoints", [registered])
        return {"registered": True, "model": version.name, "version": int(version.version), "step": checkpoint["step"]}

    def send(self, session: RunSession, child: str | None) -> None:
        """The model has gone there already."""


STAGE = Register()
