"""The files that start Ray elsewhere, as far as they can be checked without Kubernetes and SLURM; tests/e2e runs the sbatch file."""

import copy
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from rayjob_schema import SCHEMA, documents
from typer.main import get_command

from flows.cli import app
from pipeline_lib.config import RunConfig, load_config

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMAS = json.loads(SCHEMA.read_text())
RAYJOB = documents()["RayJob"]
CLUSTER = RAYJOB["spec"]["rayClusterSpec"]
GROUPS = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]
UNITS = {"Gi": 2**30, "Ti": 2**40}


def errors(kind: str, value: Any) -> list[str]:
    return [error.message for error in Draft202012Validator(SCHEMAS[kind]).iter_errors(value)]


def container(group: dict[str, Any]) -> Any:
    [only] = group["template"]["spec"]["containers"]
    return only


def quantity(text: str) -> int:
    return int(text[:-2]) * UNITS[text[-2:]]


def configured() -> RunConfig:
    """What the entrypoint's words make of the configuration that they name."""
    words = shlex.split(RAYJOB["spec"]["entrypoint"])
    assert words[:2] == ["laconic", "run"]
    given = get_command(app).commands["run"].make_context("run", words[2:], resilient_parsing=False).params  # type: ignore[attr-defined]
    return load_config(REPOSITORY / given["config"], given["overrides"])


def test_the_manifest_follows_the_schema_of_kuberay() -> None:
    given = documents()
    assert errors("RayJob", RAYJOB) == []
    assert [errors("NetworkPolicyIngressRule", rule) for rule in given["NetworkPolicy"]["spec"]["ingress"]] == [[], []]
    assert errors("PersistentVolumeClaimSpec", given["PersistentVolumeClaim"]["spec"]) == []
    assert RAYJOB["apiVersion"] == "ray.io/v1"


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ((), "entryPoint", "laconic"),
        ((), "backoffLimit", "2"),
        (("rayClusterSpec",), "workerGroups", []),
        (("rayClusterSpec", "authOptions"), "mode", "tokens"),
        (("rayClusterSpec", "headGroupSpec", "rayStartParams"), "num-cpus", 0),
        (("rayClusterSpec", "workerGroupSpecs", 0), "replica", 1),
        (("rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", "containers", 0), "volumeMount", []),
        (
            ("rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", "containers", 0, "resources", "limits"),
            "memory",
            "lots",
        ),
    ],
)
def test_the_schema_refuses_a_slip(path: tuple[str | int, ...], name: str, value: object) -> None:
    wrong = copy.deepcopy(RAYJOB)
    place = wrong["spec"]
    for step in path:
        place = place[step]
    place[name] = value
    assert errors("RayJob", wrong)


def test_the_entrypoint_fits_into_the_cluster() -> None:
    config = configured()
    assert config.fleet.kind == "ray"
    cards = sum(
        group.get("replicas", 1) * int(container(group)["resources"]["limits"].get("nvidia.com/gpu", 0)) for group in GROUPS
    )
    assert config.compute.num_processes + config.fleet.generators * config.generation.tensor_parallel == cards


def test_every_pod_sees_the_home_is_known_to_the_policy_and_has_room_for_the_object_store() -> None:
    claim = documents()["PersistentVolumeClaim"]["metadata"]["name"]
    labels = documents()["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    for group in GROUPS:
        pod, only = group["template"]["spec"], container(group)
        mounts = {mount["mountPath"]: mount["name"] for mount in only["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        home = next(each["value"] for each in only["env"] if each["name"] == "LACONIC_HOME")
        assert volumes[mounts[home]]["persistentVolumeClaim"]["claimName"] == claim
        shared = quantity(volumes[mounts["/dev/shm"]]["emptyDir"]["sizeLimit"])
        assert (
            int(group["rayStartParams"].get("object-store-memory", 0))
            < shared
            < quantity(only["resources"]["limits"]["memory"])
        )
        assert group["template"]["metadata"]["labels"] == labels
        assert only["resources"]["limits"] == only["resources"]["requests"], "neither evicted nor throttled first"


def test_the_pods_are_of_the_image_and_its_user() -> None:
    [(user, group)] = set(re.findall(r"^USER (\d+):(\d+)$", (REPOSITORY / "docker" / "Dockerfile").read_text(), re.MULTILINE))
    for each in GROUPS:
        context = each["template"]["spec"]["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (int(user), int(group), int(group))
    constraints = (REPOSITORY / "constraints-gpu.txt").read_text().splitlines()
    assert f"ray=={CLUSTER['rayVersion']}" in constraints


def test_the_sbatch_file_passes_its_linter() -> None:
    program = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([program, REPOSITORY / "docker" / "slurm.sbatch"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_job_whose_nodes_do_not_come_says_where_to_look(tmp_path: Path) -> None:
    for name, code in (("srun", 0), ("timeout", 124), ("laconic", 0)):
        (tmp_path / name).write_text(f"#!/bin/bash\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    path = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    given = {
        "PATH": path,
        "LACONIC_HOME": str(tmp_path / "home"),
        "INTERFACE": "lo",
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NUM_NODES": "2",
    }
    ended = subprocess.run(
        ["bash", "docker/slurm.sbatch"], cwd=REPOSITORY, env=given, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (1, f"Ray is not on all nodes: {tmp_path}/home/slurm-7-0/ray.log\n")
    assert not list(tmp_path.glob("home/slurm-7-0/token"))
