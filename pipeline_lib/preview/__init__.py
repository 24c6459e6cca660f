"""What a first training step would see, for any reward, mask, L_T, subset and N, from profiled rollouts and without a model."""

from pipeline_lib.preview.comparison import ComparedSetting, Preview, configured_first_step, make_preview
from pipeline_lib.preview.first_step import FirstStep, Previewer
from pipeline_lib.preview.outcomes import (
    NothingToPreviewError,
    ProfileOutcomes,
    outcomes_of,
    recorded_outcomes,
    stored_outcomes,
)
from pipeline_lib.preview.recommendation import Recommendation
from pipeline_lib.preview.settings import PreviewSetting, Requested

__all__ = [
    "ComparedSetting",
    "FirstStep",
    "NothingToPreviewError",
    "Preview",
    "PreviewSetting",
    "Previewer",
    "ProfileOutcomes",
    "Recommendation",
    "Requested",
    "configured_first_step",
    "make_preview",
    "outcomes_of",
    "recorded_outcomes",
    "stored_outcomes",
]
