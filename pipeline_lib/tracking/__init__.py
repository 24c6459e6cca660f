"""MLflow: runs, step metrics and the model registry; an unreachable tracker never ends a run."""

from pipeline_lib.tracking.delivery import expect_delivery, note_delivery, runs_behind, undelivered_notes
from pipeline_lib.tracking.registry import Registry, RegistryUnreachableError
from pipeline_lib.tracking.tracker import PARENT_STAGE, RunStatus, Tracker
