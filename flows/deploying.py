"""Registers with a Prefect server what Laconic needs there: the work pool, the `gpu` limit, deployments, an automation."""

import logging
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate, WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.events.actions import PauseDeployment
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectAlreadyExists

from flows.slots import LIMIT
from pipeline_lib.config import RunConfig, load_config
from pipeline_lib.config.shipped import PROJECT, config_choices

logger = logging.getLogger(__name__)

POOL = "laconic"
AUTOMATION = "laconic: an alarm pauses the schedule of its retraining"
DEPLOY_SECONDS = 300


def register_deployments(home: Path, slots: int) -> list[str]:
    """Create or bring up to date everything; returns the names of the deployments. Raises RuntimeError with Prefect's words.

    `slots` is the size of the `gpu` limit: how many flows may use the accelerator at once.
    """
    with get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process", description="Runs Laconic's flows."))
        client.upsert_global_concurrency_limit_by_name(LIMIT, slots)
    deployments = [*_shipped(), *_retrainings()]
    file = home / "services" / "deployments.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    # Where the worker finds the code: paths such as configs/demo.toml are relative to it.
    pull = [{"prefect.deployments.steps.set_working_directory": {"directory": str(PROJECT)}}]
    tree = {"name": "laconic", "pull": pull, "deployments": deployments}
    file.write_text(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), encoding="utf-8")
    _deploy(file)
    names = [deployment["name"] for deployment in deployments]
    _forget_retrainings(names)
    _keep_automation()
    return names


def _forget_retrainings(names: list[str]) -> None:
    """The schedule of a configuration that is gone, or has a mistake, would start nothing but failures."""
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=["laconic", "retraining"]))
    with get_client(sync_client=True) as client:
        for deployment in client.read_deployments(deployment_filter=tagged):
            if deployment.name not in names:
                client.delete_deployment(deployment.id)


def free_slots() -> None:
    """Give all slots of the `gpu` limit back: right only while no flow runs, such as before the worker starts."""
    with get_client(sync_client=True) as client:
        client.update_global_concurrency_limit(LIMIT, GlobalConcurrencyLimitUpdate(active_slots=0))


def _shipped() -> list[dict[str, Any]]:
    tree = yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = tree["deployments"]
    return found


def _retrainings() -> list[dict[str, Any]]:
    """A deployment for each configuration with a section [retrain], scheduled as it says."""
    found = []
    for path in config_choices(with_section="retrain"):
        try:
            found.append(_retraining(path, load_config(PROJECT / path)))
        except ValueError as error:  # one file with a mistake must not keep everything else down
            logger.warning("no deployment for %s: %s", path, error)
    return found


def _retraining(path: str, config: RunConfig) -> dict[str, Any]:
    settings = config.retrain
    assert settings, "chosen by its section"
    schedule = [{"cron": settings.schedule, "timezone": settings.timezone}] if settings.schedule else []
    return {
        "name": f"retrain-{config.name.removeprefix('retrain-')}",
        "entrypoint": "flows.retraining.run_retraining",
        "description": f"{_words_of('retrain')}\nConfiguration: `{path}`.",
        "tags": ["laconic", "retraining"],
        "parameters": {"config": path},
        "schedules": schedule,
        "work_pool": {"name": POOL},
        "enforce_parameter_schema": True,
        # One that would start while another runs would train from the same champion.
        "concurrency_limit": {"limit": 1, "collision_strategy": "CANCEL_NEW"},
    }


def _words_of(name: str) -> str:
    return str(next(deployment["description"] for deployment in _shipped() if deployment["name"] == name))


def _deploy(file: Path) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
    done = subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=DEPLOY_SECONDS, env=dict(os.environ)
    )
    if done.returncode:
        raise RuntimeError(f"the deployments could not be registered:\n{done.stdout}{done.stderr}")


def _keep_automation() -> None:
    """An alarm of a run whose configuration says `retrain.pause_on_alarm` pauses the deployment that the run came from."""
    wanted = Automation(
        name=AUTOMATION,
        description="Made by Laconic. Pauses the deployment that raised an alarm, if its configuration says retrain.pause_on_alarm.",
        enabled=True,
        trigger=EventTrigger(
            posture=Posture.Reactive,
            expect={"laconic.alarm.*"},
            match={"laconic.pause_on_alarm": "true"},
            threshold=1,
            within=0,
        ),
        actions=[PauseDeployment(source="inferred")],
    )
    try:
        there = Automation.read(name=AUTOMATION)
    except ValueError:
        there = None
    if there is None:
        wanted.create()  # switched off by its user, it stays off
