"""Which trained model a user means: the best checkpoint of a run, or a version in the model registry."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_lib.promotions.decisions import tracking_of_model
from pipeline_lib.runs.base_model import REGISTERED
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.run_names import resolve_run
from pipeline_lib.tracking import Registry
from pipeline_lib.training.checkpoint_files import require_model

if TYPE_CHECKING:
    from pipeline_lib.store.database import Store


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model: `folder` holds its plain weights and tokenizer, `row` is its run's of `runs`."""

    run: Run
    row: dict[str, Any]
    step: int
    folder: Path
    version: str | None

    def ancestors(self, store: "Store") -> list[tuple[str, str]]:
        """What it was trained from, as label and run: registered versions back to the first, whose base is no version of ours."""
        base = self.run.config.base_model
        found: list[tuple[str, str]] = []
        while (named := REGISTERED.fullmatch(base)) and named["version"]:
            rows = store.named("checkpoint_of_version", model_name=named["name"], model_version=int(named["version"]))
            if not rows or any(rows[0]["run_id"] == run_id for _, run_id in found):
                break
            found.append((base, rows[0]["run_id"]))
            base = store.named("run", run_id=rows[0]["run_id"])[0]["config"]["base_model"]
        return [*found, (base, "")]


def find_trained(store: "Store", word: str) -> Trained:
    """The model of RUN (its best checkpoint), MODEL@ALIAS or models:/MODEL/VERSION.

    Raises ValueError where there is none, or where it is damaged; RegistryUnreachableError in an outage of MLflow.
    """
    address = word if word.startswith("models:/") or "@" not in word else f"models:/{word}"
    if not address.startswith("models:/"):
        run_id = resolve_run(word, store.named("named_runs"))
        best = [row for row in store.named("checkpoints_of_run", run_id=run_id) if row["is_best"]]
        if not best:
            raise ValueError(f"run {run_id} has no checkpoint: only a trained run has a model of its own")
        return _trained(store, best[-1], require_model(Path(best[-1]["path"]), run_id))
    named = REGISTERED.fullmatch(address)
    if named is None:
        raise ValueError(f"{word!r} is neither MODEL@ALIAS nor models:/MODEL/VERSION")
    registry = Registry(tracking_of_model(named["name"], store), store.home)
    version = int(named["version"] or registry.version_of(named["name"], named["alias"]))
    folder = registry.folder(named["name"], version)
    rows = store.named("checkpoint_of_version", model_name=named["name"], model_version=version)
    if not rows:
        raise ValueError(
            f"models:/{named['name']}/{version} was trained by no run of {store.home}: the card is made from its store"
        )
    return _trained(store, rows[0], folder, f"models:/{named['name']}/{version}")


def _trained(store: "Store", checkpoint: dict[str, Any], folder: Path, version: str | None = None) -> Trained:
    row = store.named("run", run_id=checkpoint["run_id"])[0]
    if version is None and checkpoint["model_name"]:
        version = f"models:/{checkpoint['model_name']}/{checkpoint['model_version']}"
    return Trained(Run.stored(row), row, checkpoint["step"], folder, version)
