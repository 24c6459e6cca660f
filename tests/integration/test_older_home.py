"""A home made before [compute] was split off [train]: its runs are found by their ids, and what was interrupted is resumed.

`older-home.tar.xz` holds `home` as commit 9021028 left it with `old.toml` and the model in `base` (20,000 parameters): the run
`old` by `laconic retrain`, whose version 1 was then given the alias champion, and `broken` (seed 5), killed after step 4 of 12.
Left out of the home are `prefect/`, `workers/`, `services/`, `reports/` and the reports in `mlartifacts/`.
"""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.config import RunConfig, load_config, stored_config
from pipeline_lib.promotions.plan import plan_retraining
from pipeline_lib.runs.relocation import relocate_home
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.session import RunSession
from pipeline_lib.stages import STAGES
from pipeline_lib.stages.opened import opened
from pipeline_lib.stages.runner import run_stage
from pipeline_lib.stages.train import stored_fingerprint
from pipeline_lib.store.database import Store
from pipeline_lib.tracking import Registry
from pipeline_lib.training.checkpoint_files import choose_resume_step
from pipeline_lib.training.step_folder import StepFolder

ARCHIVE = Path(__file__).with_name("older-home.tar.xz")
FORMER_HOME = Path("/tmp/oldhome/home")
OLD = ["evaluate.checkpoints=best_and_last"]  # what retraining changes in its configuration
BROKEN = ["seed=5", "name=broken"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with `home`, moved here, `base`, and `new.toml`: `old.toml` with the keys where they are."""
    folder = tmp_path_factory.mktemp("older")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    old = (folder / "old.toml").read_text(encoding="utf-8")
    (folder / "new.toml").write_text(old.replace("\nprecision", "\n[compute]\nprecision"), encoding="utf-8")
    relocate_home(folder / "home", FORMER_HOME)
    return folder


def laconic(place: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        env={**os.environ, "LACONIC_HOME": str(place / "home")},
        cwd=place,  # old.toml names its model as `base`
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def changed(overrides: list[str]) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


def rows(place: Path, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(laconic(place, "sql", query, "--format", "json").stdout)
    return found


def test_the_file_is_refused_with_the_keys_that_are_right(place: Path) -> None:
    refused = laconic(place, "run", "old.toml", check=False)
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        "laconic: old.toml: train.precision is now compute.precision; train.micro_batch_tokens is now compute.micro_batch_tokens"
    ]


def test_the_stored_configurations_are_those_of_the_new_file(place: Path) -> None:
    stored = {
        row["run_id"]: stored_config(json.loads(row["config"]), RunConfig)
        for row in rows(place, "select run_id, config::varchar as config from runs")
    }
    configs = [load_config(place / "new.toml", changes) for changes in (OLD, BROKEN)]
    assert stored == {config.run_id: config for config in configs}, "but for keys that are new since, which have their defaults"


@pytest.mark.parametrize(
    ("changes", "done", "last_step"),
    [(OLD, ["profile", "filter", "train", "evaluate"], 12), (BROKEN, ["profile", "filter"], 4)],
)
def test_what_the_stages_did_is_found(
    place: Path, changes: list[str], done: list[str], last_step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LACONIC_HOME", str(place / "home"))
    monkeypatch.chdir(place)
    session = RunSession(Run.of(load_config("new.toml", changes)))
    stages = [STAGES[name].stage for name in ("profile", "filter", "train", "evaluate")]
    assert [stage.name for stage in stages if all(stage.find_done(unit) for unit in stage.units([session]))] == done
    assert choose_resume_step(session.run.checkpoints_folder()) == last_step
    trained_for = (session.run.training_folder() / "fingerprint").read_text(encoding="utf-8")
    assert trained_for == stored_fingerprint(session.run, session.ledger), "else its checkpoints are set aside"


@pytest.fixture
def in_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home and the folder of `new.toml` for what runs in this process."""
    monkeypatch.setenv("LACONIC_HOME", str(place / "home"))
    monkeypatch.chdir(place)
    return place


def test_its_rollouts_are_read_by_columns_that_are_newer(place: Path) -> None:
    query = "select count(*) as n, count(policy_version) as versions, count(policy_lag) as lags from rollouts"
    [found] = rows(place, query)
    assert found["n"] == found["lags"] > 0 == found["versions"]


def test_its_report_is_written(in_place: Path) -> None:
    session = RunSession(Run.of(load_config("new.toml", [*OLD, "tracking.enabled=false"])))
    with opened([session]):
        page = Path(run_stage(STAGES["report"].stage, [session])["report"])
    assert session.run.run_id in page.read_text(encoding="utf-8")
    assert page.is_relative_to(in_place / "home")


def test_retraining_starts_from_its_champion(in_place: Path) -> None:
    config = load_config("new.toml", OLD)
    registry = Registry(config.tracking, in_place / "home")
    champion = registry.version_of("old", "champion")
    plan = plan_retraining(config, champion, Store(in_place / "home"))
    assert (plan.config.base_model, plan.config.seed) == ("models:/old/1", 1)
    assert Path(Run.of(plan.config).base.location).is_relative_to(in_place / "home")


def test_its_interrupted_run_is_resumed(in_place: Path) -> None:
    session = RunSession(Run.of(load_config("new.toml", [*BROKEN, "tracking.enabled=false"])))
    seconds = [row["update_seconds"] for row in StepFolder(session.run.training_folder() / "steps").rows()]
    with opened([session]):
        run_stage(STAGES["train"].stage, [session])
    curve = session.store.named("training_curve", run_id=session.run.run_id)
    assert [row["step"] for row in curve] == list(range(1, 13))
    assert [row["update_seconds"] for row in curve[:4]] == seconds, "steps that were done are not trained again"


@pytest.mark.slow
def test_it_is_retrained_by_the_command(place: Path) -> None:
    laconic(place, "retrain", "new.toml")
    [decision] = rows(place, "select base_model, run_id from promotions where kind = 'retrain' order by number desc limit 1")
    assert decision["base_model"] == "models:/old/1"
