"""What a flow run shows in the Prefect UI: progress, tables, images, links. Keys are lower case with dashes."""

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import create_image_artifact, create_link_artifact, create_markdown_artifact, create_table_artifact


def artifact_key(*parts: str) -> str:
    """A valid artifact key from the run's name and what the artifact shows."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def publish_table(run_name: str, what: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
    """A table of plain values."""
    create_table_artifact(table=[dict(row) for row in rows], key=artifact_key(run_name, what), description=description)


def publish_markdown(run_name: str, what: str, markdown: str, description: str) -> None:
    """A text."""
    create_markdown_artifact(markdown=markdown, key=artifact_key(run_name, what), description=description)


def publish_image(run_name: str, path: Path, description: str) -> None:
    """A picture, inside the artifact itself: no server needs to reach the file."""
    data = base64.b64encode(path.read_bytes()).decode()
    create_image_artifact(
        image_url=f"data:image/png;base64,{data}", key=artifact_key(run_name, path.stem), description=description
    )


def publish_link(run_name: str, path: Path, text: str) -> None:
    """A link to a local file."""
    create_link_artifact(link=path.resolve().as_uri(), link_text=text, key=artifact_key(run_name, path.stem))


def publish_lineage(run_name: str, run_id: str, mlflow_run_id: str | None) -> None:
    """Which rows of the store and which MLflow run belong to this flow run."""
    text = f"Run `{run_id}` in DuckDB, MLflow run `{mlflow_run_id or 'not reached yet'}`."
    publish_markdown(run_name, "lineage", text, "The run in the store and in MLflow")
