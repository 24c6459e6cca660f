"""A home that was moved or restored elsewhere: the absolute paths in its databases are made to point into it again."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from pipeline_lib.services.running import running_services
from pipeline_lib.store.database import Store

# Where MLflow's database holds addresses of artifacts: file URIs, which begin with the home's.
MLFLOW_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def relocate_home(home: Path, former: Path) -> dict[str, int]:
    """Replace the former path of a home by its present one wherever it is stored; returns how many values, by place.

    Harmless when repeated. Raises ValueError while something is up over the home, or when `home` holds no store.
    """
    if not (home / "laconic.duckdb").exists():
        raise ValueError(f"LACONIC_HOME = {home} holds no laconic.duckdb: set it to the folder that the home is in now")
    if not former.is_absolute():
        raise ValueError(f"the former home {former} must be an absolute path, as it stands in checkpoints.path")
    if running_services(home):
        raise ValueError(f"{home} is up: end it with 'laconic down' first")
    return {**_relocate_store(Store(home), home, former), **_relocate_mlflow(home, former)}


def _relocate_store(store: Store, home: Path, former: Path) -> dict[str, int]:
    def moved(path: Any) -> Any:
        # A home inside its former place: what leads into it already has been turned before.
        if not path or not Path(path).is_relative_to(former) or Path(path).is_relative_to(home):
            return path
        return str(home / Path(path).relative_to(former))

    changed: dict[str, int] = {}
    checkpoints = store.named("checkpoint_paths")
    new = [row | {"path": moved(row["path"])} for row in checkpoints]
    changed["checkpoints.path"] = store.write("checkpoints", [row for row in new if row not in checkpoints])
    results = store.named("stage_result_paths")
    new = [row | {"summary": row["summary"] | {"path": moved(row["summary"]["path"])}} for row in results]
    changed["stage_results.summary"] = store.write("stage_results", [row for row in new if row not in results])
    return changed


def _relocate_mlflow(home: Path, former: Path) -> dict[str, int]:
    """MLflow has no call that changes where artifacts lie, so its SQLite file is written directly."""
    path = home / "mlflow.db"
    if not path.exists():
        return {}
    changed: dict[str, int] = {}
    before, after = former.as_uri() + "/", home.as_uri() + "/"
    with closing(sqlite3.connect(path)) as database, database:
        for table, column in MLFLOW_ADDRESSES:
            done = database.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                f"WHERE substr({column}, 1, ?) = ? AND substr({column}, 1, ?) <> ?",
                (after, len(before) + 1, len(before), before, len(after), after),
            )
            changed[f"mlflow {table}.{column}"] = done.rowcount
    return changed
