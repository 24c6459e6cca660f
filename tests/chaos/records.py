"""What a home holds, read from its files as any user can, without what differs between two unbroken runs: times and drawn ids."""

import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

# Times, and ids that are drawn anew each time.
VOLATILE = re.compile(r"seconds|_at$|per_second|flow_run_id|mlflow_run_id|git_commit|weights_id|^fingerprint$|^time")
# A run that a round adds to see what another command makes of the home.
BYSTANDER = "bystander"
# Of no run, what befell one on the way, or views of files: they name the place of the home that a copy was made of.
LEFT_OUT = ("schema_version", "run_events", "fleet_events", "fleet_shares", "latest_rollouts", "rollouts")


@dataclass(frozen=True, slots=True)
class Record:
    """What two runs must have in common: rows by table, figures in MLflow, digests of models, and registered versions."""

    tables: dict[str, list[str]]
    metrics: dict[str, str]
    models: dict[str, str]
    versions: list[str]

    def differences(self, expected: "Record") -> list[str]:
        """A line each on what is not as expected."""
        lines = []
        for table in sorted({*self.tables, *expected.tables}):
            mine, theirs = self.tables.get(table, []), expected.tables.get(table, [])
            if mine != theirs:
                extra, missing = sorted(set(mine) - set(theirs)), sorted(set(theirs) - set(mine))
                shown = "; ".join([f"+ {row[:300]}" for row in extra[:2]] + [f"- {row[:300]}" for row in missing[:2]])
                lines.append(f"{table}: {len(mine)} rows where {len(theirs)} are right: {shown or 'rows twice'}")
        for what, found, right in (("MLflow", self.metrics, expected.metrics), ("models", self.models, expected.models)):
            wrong = sorted(key for key in {*found, *right} if found.get(key) != right.get(key))
            if wrong:
                first = f"{wrong[0]} is {found.get(wrong[0])}, not {right.get(wrong[0])}"
                lines.append(f"{what}: {len(wrong)} of {len(right)} differ: {first}")
        if self.versions != expected.versions:
            lines.append(f"registered: {self.versions}, not {expected.versions}")
        return lines


def record_of(home: Path) -> Record:
    """Everything at once."""
    tables = dict(_tables(home))
    return Record(tables, dict(_metrics(home)), dict(_models(home)), versions(home))


def _tables(home: Path) -> Iterator[tuple[str, list[str]]]:
    if not (home / "laconic.duckdb").exists():
        return
    with duckdb.connect(str(home / "laconic.duckdb"), read_only=True) as store:
        names = store.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'").fetchall()
        for (name,) in sorted(names):
            if name not in LEFT_OUT:
                yield name, _rows(store, f'"{name}"')
    if any((home / "rollouts").glob("[!~]*/**/*.parquet")):
        every = f"read_parquet('{home}/rollouts/**/*.parquet', union_by_name = true, hive_partitioning = false)"
        with duckdb.connect() as files:
            yield "rollouts", _rows(files, f"(SELECT * EXCLUDE (rollout_id) FROM {every})")


def _rows(database: duckdb.DuckDBPyConnection, source: str) -> list[str]:
    cursor = database.execute(f"SELECT * FROM {source}")
    columns = [column[0] for column in cursor.description or []]
    rows = [_row(dict(zip(columns, values, strict=True))) for values in cursor.fetchall()]
    return sorted(row for row in rows if f'"run_id": "{BYSTANDER}' not in row)


def _row(row: dict[str, Any]) -> str:
    return json.dumps(_stable(row), default=repr)


def _stable(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("{"):
        value = json.loads(value)
    if isinstance(value, dict):
        return {key: _stable(item) for key, item in value.items() if not VOLATILE.search(key)}
    return value


def statuses(home: Path) -> dict[str, str]:
    """Of every run, by run id."""
    if not (home / "laconic.duckdb").exists():
        return {}
    with duckdb.connect(str(home / "laconic.duckdb"), read_only=True) as store:
        if not store.execute("SELECT 1 FROM information_schema.tables WHERE table_name = 'runs'").fetchall():
            return {}
        return dict(store.execute("SELECT run_id, status FROM runs").fetchall())


def _mlflow(home: Path, query: str) -> list[tuple[Any, ...]]:
    path = home / "mlflow.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database:
        return database.execute(query).fetchall()


def mlflow_running(home: Path) -> list[str]:
    """MLflow runs that are called running."""
    return sorted(row[0] for row in _mlflow(home, "SELECT name FROM runs WHERE status = 'RUNNING'"))


def _metrics(home: Path) -> Iterator[tuple[str, str]]:
    """Each figure that MLflow shows: its values by run name, key and step."""
    found: dict[str, set[float]] = {}
    others = f"SELECT run_uuid FROM tags WHERE key = 'laconic.run_id' AND value LIKE '{BYSTANDER}%'"
    runs = f"SELECT run_uuid, name, status FROM runs WHERE lifecycle_stage = 'active' AND run_uuid NOT IN ({others})"
    for name, key, step, value in _mlflow(home, f"SELECT name, key, step, value FROM metrics JOIN ({runs}) USING (run_uuid)"):
        if not VOLATILE.search(key):
            found.setdefault(f"{name} {key} {step}", set()).add(value)
    for key, values in found.items():
        yield key, str(sorted(values))
    for name, status in _mlflow(home, f"SELECT name, status FROM ({runs})"):
        yield f"{name} status", status


def versions(home: Path) -> list[str]:
    """Registered versions and the aliases that lead to them."""
    found = [f"{name} {version}" for name, version in _mlflow(home, "SELECT name, version FROM model_versions")]
    aliases = _mlflow(home, "SELECT name, alias, version FROM registered_model_aliases")
    return sorted(found) + sorted(f"{name}@{alias} = {version}" for name, alias, version in aliases)


def _models(home: Path) -> Iterator[tuple[str, str]]:
    """Digest of the weights of every checkpoint, and of those that are registered."""
    for path in sorted(home.glob("checkpoints/*/step-?????/model/model.safetensors")):
        yield str(path.relative_to(home)), _digest(path)
    for name, source in _mlflow(home, "SELECT name, source FROM model_versions"):
        weights = home / "mlartifacts" / "models" / source.removeprefix("models:/") / "artifacts" / "model.safetensors"
        yield f"registered {name}", _digest(weights) if weights.exists() else "missing"


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
