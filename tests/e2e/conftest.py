"""Runs of the whole pipeline that several files look at, made by the first worker that needs one."""

import fcntl
import os
import time
from pathlib import Path

import pytest
from driving import QUICK, REPOSITORY, laconic

SMOKE = str(REPOSITORY / "configs" / "smoke.toml")


def run_once(factory: pytest.TempPathFactory, name: str, *changes: str) -> tuple[Path, float, str]:
    """A home in which `laconic run configs/smoke.toml` has run once, unbroken; the seconds that it took, what it printed.

    It is there for all workers: only to be read, or copied (`moved_copy`).
    """
    own = factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    home, took = shared / name, shared / f"{name}.seconds"
    with open(shared / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not took.exists():
            started = time.monotonic()
            done = laconic(home, "run", SMOKE, *changes)
            (shared / f"{name}.log").write_text(done.stdout + done.stderr)
            took.write_text(str(time.monotonic() - started))
    return home, float(took.read_text()), (shared / f"{name}.log").read_text()


@pytest.fixture(scope="session")
def smoke_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke run as it is shipped, by a command that has started a Prefect server of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        home, _, printed = run_once(tmp_path_factory, "smoke")
    assert "tiny-sum: accuracy (%) within a token budget" in printed
    return home


@pytest.fixture(scope="session")
def quick_run(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> tuple[Path, float]:
    """Home and seconds of a quick run with nothing wrong, to hold those against in which something went wrong."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", prefect_server)
        home, seconds, printed = run_once(tmp_path_factory, "quick", *QUICK)
    assert "Prefect server" not in printed
    return home, seconds
