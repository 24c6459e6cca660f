"""The part of KubeRay's schema that docker/rayjob.yaml uses, made from a release's CRD:

    curl --location --output rayjobs.yaml \\
        https://raw.githubusercontent.com/ray-project/kuberay/v1.7.0/helm-chart/kuberay-operator/crds/ray.io_rayjobs.yaml
    python tests/unit/rayjob_schema.py rayjobs.yaml v1.7.0

Objects that the manifest uses keep the names and types of all their fields and take no others; what is within fields that it does
not use is left out, and so are descriptions.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

MANIFEST = Path(__file__).resolve().parents[2] / "docker" / "rayjob.yaml"
SCHEMA = Path(__file__).with_suffix(".json")
KEPT = ("type", "enum", "minimum", "maximum", "minItems", "minLength", "pattern", "format", "required", "anyOf")


def documents() -> dict[str, Any]:
    """The manifest's documents by their kinds."""
    return {each["kind"]: each for each in yaml.safe_load_all(MANIFEST.read_text())}


def used_part(schema: dict[str, Any], values: list[Any]) -> dict[str, Any]:
    """The schema of what some values hold."""
    part = {key: schema[key] for key in KEPT if key in schema}
    if "properties" in schema:
        part["properties"] = {
            name: used_part(each, [value[name] for value in values if name in value])
            if any(name in value for value in values)
            else {key: each[key] for key in ("type", "anyOf", "enum") if key in each}
            for name, each in schema["properties"].items()
        }
        part["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        part["additionalProperties"] = used_part(
            schema["additionalProperties"], [each for value in values for each in value.values()]
        )
    if "items" in schema:
        part["items"] = used_part(schema["items"], [each for value in values for each in value])
    return part


def make(crd: dict[str, Any], version: str) -> dict[str, Any]:
    """Of the RayJob, and of the two other documents what the CRD holds of them, too."""
    [whole] = [each["schema"]["openAPIV3Schema"] for each in crd["spec"]["versions"] if each["name"] == "v1"]
    cluster, given = whole["properties"]["spec"]["properties"]["rayClusterSpec"]["properties"], documents()
    rule = cluster["networkPolicy"]["properties"]["head"]["properties"]["ingressRules"]["items"]
    pod = cluster["headGroupSpec"]["properties"]["template"]["properties"]["spec"]["properties"]
    claim = pod["volumes"]["items"]["properties"]["ephemeral"]["properties"]["volumeClaimTemplate"]["properties"]["spec"]
    return {
        "source": f"https://github.com/ray-project/kuberay {version}, ray.io_rayjobs.yaml, Apache-2.0; made by rayjob_schema.py",
        "RayJob": used_part(whole, [given["RayJob"]]),
        "NetworkPolicyIngressRule": used_part(rule, given["NetworkPolicy"]["spec"]["ingress"]),
        "PersistentVolumeClaimSpec": used_part(claim, [given["PersistentVolumeClaim"]["spec"]]),
    }


if __name__ == "__main__":
    made = make(yaml.load(Path(sys.argv[1]).read_text(), yaml.CSafeLoader), sys.argv[2])
    lines = [f" {json.dumps(name)}: {json.dumps(part, separators=(',', ':'))}" for name, part in made.items()]
    SCHEMA.write_text("{\n" + ",\n".join(lines) + "\n}\n")
