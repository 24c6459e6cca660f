"""The configuration of a run: frozen models read from one TOML file, unknown keys refused.

The sections follow the protocol of "The Art of Efficient Reasoning" (arXiv 2602.20945). Defaults are the paper's
where it gives a value. Lengths are in tokens, times in seconds, memory in GiB; the unit is in the key's name.
"""

from pipeline_lib.config.compute import ComputeConfig
from pipeline_lib.config.endpoint import EndpointConfig
from pipeline_lib.config.fleet import FleetConfig
from pipeline_lib.config.generation import GenerationConfig
from pipeline_lib.config.loading import apply_override, load_config, parse_config, stored_config
from pipeline_lib.config.prices import PricesConfig
from pipeline_lib.config.published import PublishedConfig
from pipeline_lib.config.recorded import RecordedConfig, recorded_config
from pipeline_lib.config.retraining import GateConfig, RetrainConfig
from pipeline_lib.config.run import ControlConfig, RunConfig, TrackingConfig
from pipeline_lib.config.sources import PAPER_PROMPT_SUFFIX, AnswerSettings, PromptSource, with_suffix
from pipeline_lib.config.stages import CleaningConfig, FilterConfig
from pipeline_lib.config.training import LoraConfig, NegativeStrategy, TrainConfig, WatchConfig
from pipeline_lib.config.warmup import WarmupConfig
from pipeline_lib.files.home import digest, laconic_home
from pipeline_lib.rewards import RewardConfig
