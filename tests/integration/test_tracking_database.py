"""MLflow's database in the home is whole or not there: kills while it is made, two makers at once, what older versions left."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

# Makes a database and is killed by the system between making its n-th copy of a table and filling it; "whole" as a tracker does.
MAKE = """
import os, signal, sys
from pathlib import Path
import sqlalchemy
how, path, last = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
changes = 0
@sqlalchemy.event.listens_for(sqlalchemy.Engine, "before_cursor_execute")
def count(connection, cursor, statement, *rest):
    global changes
    changes += statement.startswith("INSERT INTO _alembic_tmp_")
    if changes == last:
        os.kill(os.getpid(), signal.SIGKILL)
if how == "whole":
    from pipeline_lib.config import TrackingConfig
    from pipeline_lib.tracking import Tracker
    assert Tracker(TrackingConfig(), path.parent).start_parent(str(os.getpid()), str(os.getpid()))
else:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    SqlAlchemyStore(f"sqlite:///{path}", str(path.parent / "artifacts"))
"""


@pytest.fixture(autouse=True)
def _no_tracking_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def making(how: str, path: Path, last: int = 10**6) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", MAKE, how, str(path), str(last)], env=dict(os.environ))


def run_names(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as database:
        return {name for (name,) in database.execute("select name from runs")}


@pytest.mark.timeout(300)
def test_a_kill_while_it_is_made_leaves_none_and_two_makers_at_once_share_one(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    assert making("whole", path, last=4).wait() == -signal.SIGKILL
    assert not path.exists()
    makers = [making("whole", path) for _ in range(2)]
    assert [maker.wait() for maker in makers] == [0, 0]
    assert run_names(path) == {str(maker.pid) for maker in makers}
    assert {each.name for each in tmp_path.iterdir()} == {"mlflow.db", ".mlflow.db.lock"}


@pytest.mark.timeout(300)
def test_one_that_was_cut_short_by_an_older_version_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    assert making("in place", path, last=4).wait() == -signal.SIGKILL
    assert path.exists()
    maker = making("whole", path)
    assert maker.wait() == 0
    assert run_names(path) == {str(maker.pid)}
    # Whole and in use, it is left as it is.
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("pragma user_version = 0")
    assert making("whole", path).wait() == 0
    assert len(run_names(path)) == 2
