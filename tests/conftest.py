"""A home of its own for every test, one Prefect test server for those that run flows, and the order of the files."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from pipeline_lib.processes import collect_garbage_rarely

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

# What else a machine has to do makes no test fail.
settings.register_profile("laconic", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("laconic")

collect_garbage_rarely()  # a worker of the tests imports all there is

REPOSITORY = Path(__file__).resolve().parents[1]
# Minutes each, the longest first; after them the folders, the dearer ones first.
LONGEST = (
    "tests/e2e/test_served.py",
    "tests/e2e/test_docs.py",
    "tests/e2e/test_pipeline.py",
    "tests/e2e/test_scheduled.py",
    "tests/chaos/test_short_campaign.py",
    "tests/e2e/test_outage.py",
    "tests/integration/test_promotions.py",
    "tests/integration/test_policy.py",
    "tests/unit/test_finding_page.py",
    "tests/e2e",
    "tests/chaos",
    "tests/integration",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Workers take the files in this order: a long one that came last would run alone, with cores idle beside it."""
    items.sort(
        key=lambda item: next((place for place, path in enumerate(LONGEST) if item.nodeid.startswith(path)), len(LONGEST))
    )


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """LACONIC_HOME of the test."""
    folder = tmp_path / "home"
    monkeypatch.setenv("LACONIC_HOME", str(folder))
    return folder


@pytest.fixture
def configs() -> Path:
    """The shipped configurations."""
    return REPOSITORY / "configs"


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """The API of a Prefect server, shared by all tests of this process that run flows, here or in a command."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield str(PREFECT_API_URL.value())
