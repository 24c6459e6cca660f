"""What a flow run shows in the Prefect UI: progress, tables, images, links. Keys are lower case with dashes."""

import base64
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    ImageArtifact,
    TableArtifact,
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from pipeline_lib.harmless import markdown_code, markdown_text
from pipeline_lib.session import RunSession


def artifact_key(*parts: str) -> str:
    """A valid artifact key from the run's name and what the artifact shows."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def publish_table(run_name: str, what: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
    """A table of plain values."""
    create_table_artifact(table=readable(rows), key=artifact_key(run_name, what), description=description)


def readable(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows for reading: four significant digits, texts that are no Markdown; the store has the rest."""
    return [{key: _readable(value) for key, value in row.items()} for row in rows]


def _readable(value: Any) -> Any:
    if isinstance(value, str):
        return markdown_text(value)
    return float(f"{value:.4g}") if isinstance(value, float) else value


def publish_markdown(run_name: str, what: str, markdown: str, description: str) -> None:
    """A text."""
    create_markdown_artifact(markdown=markdown, key=artifact_key(run_name, what), description=description)


def publish_image(run_name: str, path: Path, description: str) -> None:
    """A picture, inside the artifact itself: no server needs to reach the file."""
    data = base64.b64encode(path.read_bytes()).decode()
    create_image_artifact(
        image_url=f"data:image/png;base64,{data}", key=artifact_key(run_name, path.stem), description=description
    )


def publish_page(run_name: str, path: Path, mlflow_address: str | None) -> None:
    """Where a page on disk can be seen: a browser opens no file from a served page, but it opens MLflow's copy."""
    copy = f"[In MLflow]({mlflow_address}/artifacts/report/{path.name}), or the file" if mlflow_address else "The file"
    publish_markdown(run_name, path.stem, f"{copy} {markdown_code(str(path.resolve()))}.", "The report")


def publish_lineage(run: RunSession) -> None:
    """Which rows of the store and which MLflow run belong to this flow run; a link where MLflow has pages."""
    name, mlflow_run_id = run.config.name, run.mlflow_run_id
    text = f"Run `{run.run_id}` in DuckDB, MLflow run {markdown_code(mlflow_run_id or 'not reached yet')}."
    address = run.tracker.run_address(mlflow_run_id)
    if address:
        text += f" [Open it in MLflow]({address})."
        words = f"{run.run_id} in MLflow"
        create_link_artifact(link=address, link_text=words, key=artifact_key(name, "mlflow"), description=words)
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
        """Whether enough time has passed since it was last written."""
        return time.monotonic() >= self._next

    def show_table(self, rows: Sequence[Mapping[str, Any]], description: str) -> None:
        """Show a table of plain values."""
        self._write(TableArtifact(key=self._key, description=description, table=readable(rows)))

    def show_image(self, png: bytes, description: str) -> None:
        """Show a picture, which lies inside the artifact."""
        address = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        self._write(ImageArtifact(key=self._key, description=description, image_url=address))

    def _write(self, artifact: TableArtifact | ImageArtifact) -> None:
        started = time.monotonic()
        if self._id is None:
            self._id = artifact.create(_sync=True).id  # type: ignore[call-arg, union-attr]
        else:
            data = artifact.format(_sync=True)  # type: ignore[call-arg]
            with get_client(sync_client=True) as client:
                client.update_artifact(self._id, ArtifactUpdate(data=data, description=artifact.description))
        # On a slow server, at most a tenth of the time goes into what is shown.
        self._next = time.monotonic() + max(self._every_seconds, 9 * (time.monotonic() - started))
