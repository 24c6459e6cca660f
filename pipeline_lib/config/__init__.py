"""The configuration of a run: frozen models read from one TOML file, unknown keys refused.

Every section is one stage of the protocol of "The Art of Efficient Reasoning" (arXiv 2602.20945). Defaults are the paper's
where it gives a value. Lengths are in tokens, times in seconds, memory in GiB; the unit is in the key's name.
"""

from pipeline_lib.config.compute import ComputeConfig
from pipeline_lib.config.loading import apply_override, load_config, parse_config, stored_config
from pipeline_lib.config.recorded import RecordedConfig, recorded_config
from pipeline_lib.config.retraining import GateConfig, RetrainConfig
from pipeline_lib.config.run import (
    OPERATION,
    CleaningConfig,
    ControlConfig,
    EvaluateConfig,
    FilterConfig,
    GenerationConfig,
    ProfileConfig,
    RunConfig,
    TrackingConfig,
)
from pipeline_lib.config.sources import CHAT_STYLES, PAPER_PROMPT_SUFFIX, TEMPLATES, LocalCopy, PromptSource
from pipeline_lib.config.training import (
    AdvantageEstimator,
    AlarmAction,
    CheckpointConfig,
    LossAggregation,
    NegativeStrategy,
    RewardConfig,
    TrainConfig,
    ValidationConfig,
    WatchConfig,
)
from pipeline_lib.config.warmup import WarmupConfig
from pipeline_lib.files.home import digest, laconic_home
from pipeline_lib.section import Fraction, Name, NonNegativeInt, PositiveFloat, PositiveInt, Section, is_name, name_from

__all__ = [
    "CHAT_STYLES",
    "OPERATION",
    "PAPER_PROMPT_SUFFIX",
    "TEMPLATES",
    "AdvantageEstimator",
    "AlarmAction",
    "CheckpointConfig",
    "CleaningConfig",
    "ComputeConfig",
    "ControlConfig",
    "EvaluateConfig",
    "FilterConfig",
    "Fraction",
    "GateConfig",
    "GenerationConfig",
    "LocalCopy",
    "LossAggregation",
    "Name",
    "NegativeStrategy",
    "NonNegativeInt",
    "PositiveFloat",
    "PositiveInt",
    "ProfileConfig",
    "PromptSource",
    "RecordedConfig",
    "RetrainConfig",
    "RewardConfig",
    "RunConfig",
    "Section",
    "TrackingConfig",
    "TrainConfig",
    "ValidationConfig",
    "WarmupConfig",
    "WatchConfig",
    "apply_override",
    "digest",
    "is_name",
    "laconic_home",
    "load_config",
    "name_from",
    "parse_config",
    "recorded_config",
    "stored_config",
]
