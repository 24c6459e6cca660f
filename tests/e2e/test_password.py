"""`laconic up --password-file`: nothing without the password, and every client of ours has it."""

from pathlib import Path

import httpx
import pytest
from driving import laconic, wait_until_no_process_is_left
from serving import served
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

pytestmark = pytest.mark.slow  # servers of its own


def test_the_password_is_asked_of_everybody_and_known_to_our_own(tmp_path: Path) -> None:
    home, file = tmp_path / "home", tmp_path / "password"
    file.write_text("correct-horse-battery\n")
    file.chmod(0o600)
    with served(home, slots=1, password_file=file) as up:
        addresses = [
            f"{up.prefect}/api/csrf-token?client=x",
            f"{up.prefect}/api/deployments/name/laconic-filter/filter",
            f"{up.mlflow}/",
            f"{up.mlflow}/version",
            f"{up.mlflow}/ajax-api/2.0/mlflow/experiments/search?max_results=5",
            f"{up.mlflow}/api/2.0/mlflow/experiments/search?max_results=5",
        ]
        for given, status in (
            (None, 401),
            (("laconic", "wrong"), 401),
            (("admin", "password1234"), 401),
            (("laconic", up.password), 200),
        ):
            found = [httpx.get(address, auth=given, trust_env=False).status_code for address in addresses]
            assert found == [status] * len(addresses), given
        with pytest.raises(InvalidStatus):
            connect(up.prefect.replace("http", "ws") + "/api/events/in", proxy=None)
        # A command reads the registry and reports to the server, and so does a flow that the worker starts.
        refused = laconic(home, "rollback", "nothing", check=False)
        assert "nothing" in refused.stderr and "401" not in refused.stderr + refused.stdout, refused.stderr
        assert up.wait(up.start("laconic-rollback/rollback", model="nothing")) == "FAILED"
        runs = up.call("POST", "/flow_runs/filter", {"limit": 10})
        assert [run["name"] for run in runs] == ["nothing", "nothing"]
        assert all("401" not in str(run["state"]["message"]) for run in runs)
        noted = [path.read_text(errors="replace") for path in (home / "services").glob("*")]
        assert not any("correct-horse-battery" in text for text in noted)
    wait_until_no_process_is_left(home)
