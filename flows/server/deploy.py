"""Registers with a Prefect server what Laconic needs there: the work pool, the `gpu` limit, deployments, an automation."""

import inspect
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.events.actions import PauseDeployment
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectAlreadyExists

from flows.server.gpu_limit import LIMIT
from pipeline_lib.config import RunConfig, digest, load_config
from pipeline_lib.config.shipped import PROJECT, config_choices
from pipeline_lib.files.whole_files import write_whole
from pipeline_lib.stages import STAGES, StageEntry

logger = logging.getLogger(__name__)

POOL = "laconic"
FROM_CONFIGURATION = "configuration"  # slug of the schedule that a file gives
DEPLOY_SECONDS = 300


def register_deployments(home: Path, slots: int) -> list[str]:
    """Create or bring up to date everything; returns the names of the deployments. Raises RuntimeError with Prefect's words.

    `slots` is the size of the `gpu` limit: how many flows may use an engine at once. Schedules that were made or switched off
    on the pages stay as they are; the cron of a configuration follows its file.
    """
    with get_client(sync_client=True) as client:
        _keep_work_pool(client)
        client.upsert_global_concurrency_limit_by_name(LIMIT, slots)
        known = {each.name: each for each in client.read_deployments() if each.work_pool_name == POOL}
    retrainings = _retrainings(home)
    deployments = [*_shipped(), *map(_stage, STAGES.values()), *retrainings]
    for deployment in deployments:
        if deployment["name"] in known:
            deployment["schedules"] = kept_schedules(deployment.get("schedules", []), known[deployment["name"]].schedules)
    file = home / "services" / "deployments.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    # Where the worker finds the code: paths such as configs/demo.toml are relative to it.
    pull = [{"prefect.deployments.steps.set_working_directory": {"directory": str(PROJECT)}}]
    tree = {"name": "laconic", "pull": pull, "deployments": deployments}
    write_whole(file, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))
    _deploy(file)
    with get_client(sync_client=True) as client:
        _forget_retrainings(client, home)
        registered = {each.name: each for each in client.read_deployments()}
    for retraining in retrainings:
        _keep_automation(retraining["name"], registered[retraining["name"]].id, retraining["parameters"]["config"])
    return [deployment["name"] for deployment in deployments]


def _keep_work_pool(client: SyncPrefectClient) -> None:
    """The pool whose runs have no job variables: those of Prefect's own template change the command and its environment."""
    template = {
        "job_configuration": {"stream_output": True},
        "variables": {"type": "object", "properties": {}, "additionalProperties": False},
    }
    try:
        client.create_work_pool(
            WorkPoolCreate(name=POOL, type="process", description="Runs Laconic's flows.", base_job_template=template)
        )
    except ObjectAlreadyExists:
        client.update_work_pool(POOL, WorkPoolUpdate(base_job_template=template))


def kept_schedules(from_file: list[dict[str, Any]], known: Sequence[DeploymentSchedule]) -> list[dict[str, Any]]:
    """The schedules to register: the file's, switched off where they were, and those that were made on the pages.

    Registering replaces all schedules of a deployment, so what is to stay has to be written again.
    """
    ours = {schedule.slug: schedule for schedule in known if schedule.slug}
    kept = [{**schedule, "active": ours[slug].active if (slug := schedule["slug"]) in ours else True} for schedule in from_file]
    for schedule in known:
        if schedule.slug == FROM_CONFIGURATION:
            continue
        when = schedule.schedule.model_dump(mode="json", exclude_none=True)
        if isinstance(schedule.schedule, IntervalSchedule):
            when["interval"] = schedule.schedule.interval.total_seconds()
        made = {"active": schedule.active, "parameters": schedule.parameters, "slug": schedule.slug}
        kept.append(when | {name: value for name, value in made.items() if value not in (None, {})})
    return kept


def _forget_retrainings(client: SyncPrefectClient, home: Path) -> None:
    """The schedule of a configuration of this home that is gone would start nothing but failures."""
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=["retraining", _home_tag(home)]))
    wanted = config_choices(with_section="retrain")
    for deployment in client.read_deployments(deployment_filter=tagged):
        path = str(deployment.parameters.get("config"))
        # A file that is there but cannot be read is being edited: what it had stays.
        if path not in wanted and not (PROJECT / path).exists():
            client.delete_deployment(deployment.id)


def _home_tag(home: Path) -> str:
    """Several homes may share a server; each knows its own deployments by this."""
    return f"home-{digest(str(home))[:8]}"


def free_slots() -> None:
    """Give all slots of the `gpu` limit back: right only while no flow runs, such as before the worker starts."""
    with get_client(sync_client=True) as client:
        client.update_global_concurrency_limit(LIMIT, GlobalConcurrencyLimitUpdate(active_slots=0))


def _shipped() -> list[dict[str, Any]]:
    tree = yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = tree["deployments"]
    return found


def _stage(entry: StageEntry) -> dict[str, Any]:
    """A deployment for a stage, whose class says what it is."""
    return {
        "name": entry.name,
        "entrypoint": f"flows.stages.run_{entry.name}",
        "description": inspect.getdoc(type(entry.stage)),
        "tags": ["laconic", "stage"],
        "parameters": {"config": "configs/demo.toml"},
        "work_pool": {"name": POOL},
        "enforce_parameter_schema": True,
    }


def _retrainings(home: Path) -> list[dict[str, Any]]:
    """A deployment for each configuration with a section [retrain], scheduled as it says."""
    found: dict[str, dict[str, Any]] = {}
    for path in config_choices(with_section="retrain"):
        try:
            made = _retraining(path, load_config(PROJECT / path), home)
            if made["name"] in found:
                other = found[made["name"]]["parameters"]["config"]
                raise ValueError(f"{other} has the deployment {made['name']!r} already: give the configuration another name")
            found[made["name"]] = made
        except ValueError as error:  # one file with a mistake must not keep everything else down
            logger.warning("no deployment for %s: %s", path, error)
    return list(found.values())


def _retraining(path: str, config: RunConfig, home: Path) -> dict[str, Any]:
    settings = config.retrain
    assert settings, "chosen by its section"
    words = next(deployment["description"] for deployment in _shipped() if deployment["name"] == "retrain")
    cron = {"cron": settings.schedule, "timezone": settings.timezone, "slug": FROM_CONFIGURATION}
    return {
        "name": f"retrain-{config.name.removeprefix('retrain-')}",
        "entrypoint": "flows.retraining.run_retraining",
        "description": f"{words}\nConfiguration: `{path}`.",
        "tags": ["laconic", "retraining", _home_tag(home)],
        "parameters": {"config": path},
        "schedules": [cron] if settings.schedule else [],
        "work_pool": {"name": POOL},
        "enforce_parameter_schema": True,
        # One that would start while another runs would train from the same champion.
        "concurrency_limit": {"limit": 1, "collision_strategy": "CANCEL_NEW"},
    }


def _deploy(file: Path) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
    done = subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=DEPLOY_SECONDS, env=dict(os.environ)
    )
    if done.returncode:
        raise RuntimeError(f"the deployments could not be registered:\n{done.stdout}{done.stderr}")


def _keep_automation(deployment: str, deployment_id: UUID, path: str) -> None:
    """An alarm of a retraining, whichever way it was started, pauses the schedule of its configuration, if that says so."""
    name = f"laconic: an alarm pauses {deployment}"
    wanted = Automation(
        name=name,
        description="Made by Laconic for retrain.pause_on_alarm of a configuration. Switched off, it stays off.",
        enabled=True,
        trigger=EventTrigger(
            posture=Posture.Reactive,
            expect={"laconic.alarm.*"},
            match={"laconic.pause_on_alarm": "true", "prefect.resource.name": load_config(PROJECT / path).name},
            threshold=1,
            within=0,
        ),
        actions=[PauseDeployment(source="selected", deployment_id=deployment_id)],
    )
    try:
        known: Any = Automation.read(name=name)
    except ValueError:
        wanted.create()
        return
    if known.actions != wanted.actions:  # the deployment was made anew
        known.delete()
        wanted.enabled = known.enabled
        wanted.create()
