"""What a flow run shows in the Prefect UI: progress, tables, images, links. Keys are lower case with dashes."""

import base64
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.artifacts import Artifact, ImageArtifact, LinkArtifact, MarkdownArtifact, TableArtifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.exceptions import ObjectNotFound

from pipeline_lib.files.home import plain_key
from pipeline_lib.messages.harmless import markdown_code, markdown_text
from pipeline_lib.runs.session import RunSession
from tasks.outbox import outbox


def artifact_key(run_name: str, *what: str) -> str:
    """A valid artifact key from the run's name, of which no other has the same key, and what the artifact shows."""
    return "-".join([plain_key(run_name), *(plain_key(part.replace("_", "-")) for part in what)])


def publish_table(run_name: str, what: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
    _publish(TableArtifact(table=readable(rows), key=artifact_key(run_name, what), description=description))


def readable(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows for reading: four significant digits, texts that are no Markdown; the store has the rest."""
    return [{key: _readable(value) for key, value in row.items()} for row in rows]


def _readable(value: Any) -> Any:
    if isinstance(value, str):
        return markdown_text(value)
    return float(f"{value:.4g}") if isinstance(value, float) else value


def publish_markdown(run_name: str, what: str, markdown: str, description: str) -> None:
    _publish(MarkdownArtifact(markdown=markdown, key=artifact_key(run_name, what), description=description))


def publish_image(run_name: str, path: Path, description: str) -> None:
    """A picture, inside the artifact itself: no server needs to reach the file."""
    address = png_address(path.read_bytes())
    _publish(ImageArtifact(image_url=address, key=artifact_key(run_name, path.stem), description=description))


def publish_page(run_name: str, path: Path, mlflow_address: str | None) -> None:
    """Where a page on disk can be seen: a browser opens no file from a served page, but it opens MLflow's copy."""
    copy = f"[In MLflow]({mlflow_address}/artifacts/report/{path.name}), or the file" if mlflow_address else "The file"
    publish_markdown(run_name, path.stem, f"{copy} {markdown_code(str(path.resolve()))}.", "The report")


def publish_lineage(session: RunSession) -> None:
    """Which rows of the store and which MLflow run belong to this flow run; a link where MLflow has pages."""
    run, name, mlflow_run_id = session.run, session.run.config.name, session.mlflow_run_id
    text = f"Run `{run.run_id}` in DuckDB, MLflow run {markdown_code(mlflow_run_id or 'not reached yet')}."
    address = session.tracker.run_address(mlflow_run_id)
    if address:
        text += f" [Open it in MLflow]({address})."
        words = f"{run.run_id} in MLflow"
        _publish(LinkArtifact(link=address, link_text=words, key=artifact_key(name, "mlflow"), description=words))
    publish_markdown(name, "lineage", text, "The run in the store and in MLflow")


class LiveArtifact:
    """An artifact that is written anew while a stage runs: the page that shows it shows the newest state."""

    def __init__(self, run_name: str, what: str, every_seconds: float) -> None:
        self._key = artifact_key(run_name, what)
        self._every_seconds = every_seconds
        self._id: UUID | None = None
        self._next = 0.0

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._next

    def show(self, kind: type[Artifact], description: str, **content: Any) -> None:
        """Show an artifact of a kind with its content."""
        artifact = kind(key=self._key, description=description, **content)
        self._next = time.monotonic() + self._every_seconds
        outbox.put(f"artifact {artifact.key}", partial(self._send, artifact), key=self)

    def _send(self, artifact: Artifact) -> None:
        if self._id is not None:
            update = ArtifactUpdate(data=artifact.format(_sync=True), description=artifact.description)  # type: ignore[call-arg]
            try:
                get_client(sync_client=True).update_artifact(self._id, update)
                return
            except ObjectNotFound:  # the server came back without what it had
                pass
        self._id = artifact.create(_sync=True).id  # type: ignore[call-arg, union-attr]


def _publish(artifact: Artifact) -> None:
    outbox.put(f"artifact {artifact.key}", partial(artifact.create, _sync=True))  # type: ignore[call-arg]


def png_address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
