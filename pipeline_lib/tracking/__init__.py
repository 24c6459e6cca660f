"""MLflow: runs, step metrics and the model registry; an unreachable tracker never ends a run."""

from pipeline_lib.tracking.connection import PREFECT_TAG, RUN_ID_TAG, STAGE_TAG, RegisteredVersion
from pipeline_lib.tracking.registry import Registry, RegistryUnreachableError
from pipeline_lib.tracking.tracker import RunStatus, Tracker

__all__ = [
    "PREFECT_TAG",
    "RUN_ID_TAG",
    "STAGE_TAG",
    "RegisteredVersion",
    "Registry",
    "RegistryUnreachableError",
    "RunStatus",
    "Tracker",
]
