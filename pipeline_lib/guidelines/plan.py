"""A run as planned: its configuration, and what can be known of its model, its reward and its prompts before it starts."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline_lib.config import PromptSource, RunConfig
from pipeline_lib.guidelines.profile import Profile, stored_profile
from pipeline_lib.guidelines.reward_shape import RewardShape, probe_reward
from pipeline_lib.memory import H100, Architecture, Card, MemoryPlan, architecture_of, memory_plan
from pipeline_lib.prompts.chat_templates import has_chat_template

# The smallest model that the paper trains has 0.6 billion parameters; what is far below is a toy with scales of its own.
TOY_PARAMETERS = 0.1e9
# The paper says "larger models" and measured staleness on 1.5 billion; from 4 billion on it also takes smaller batches.
LARGE_PARAMETERS = 4e9

_SIZE_IN_NAME = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])")


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Number of parameters (all experts counted) and where it comes from; None when it is not known."""

    num_parameters: float | None
    origin: str

    @property
    def is_toy(self) -> bool:
        return self.num_parameters is not None and self.num_parameters < TOY_PARAMETERS

    @property
    def is_large(self) -> bool:
        """Large enough to be trained on-policy only."""
        return self.num_parameters is not None and self.num_parameters >= LARGE_PARAMETERS

    @property
    def text(self) -> str:
        """The size for readers, such as '30.5 billion parameters (config.json)'."""
        if self.num_parameters is None:
            return "of unknown size"
        billions = self.num_parameters / 1e9
        size = f"{billions:.3g} billion" if billions >= 0.1 else f"{self.num_parameters / 1e6:.2g} million"
        return f"{size} parameters ({self.origin})"


def model_size(base_model: str) -> ModelSize:
    """The size of a model folder, a hub id or 'builtin:tiny'."""
    architecture = architecture_of(base_model)
    if architecture is not None:
        return ModelSize(float(architecture.parameters), "config.json")
    named = _SIZE_IN_NAME.search(Path(base_model).name.lower())
    if named is None:
        return ModelSize(None, "unknown")
    return ModelSize(float(named[1]) * {"b": 1e9, "m": 1e6}[named[2]], "its name")


class PlannedRun:
    """What the rules look at. `profile` is None when none is stored; `profile_status` then says why, else whose it is."""

    def __init__(
        self, config: RunConfig, profile: Profile | None = None, profile_status: str = "no profile was given", card: Card = H100
    ) -> None:
        self.config = config
        self.card = card
        self.profile = profile
        self.profile_status = profile_status if profile is None else profile.description

    @classmethod
    def of(cls, config: RunConfig, home: Path, card: Card = H100) -> "PlannedRun":
        """A run on such cards, with the profile that the store in `home` holds for its inputs, if there is one."""
        found = stored_profile(config, home)
        return cls(config, found, card=card) if isinstance(found, Profile) else cls(config, None, found, card)

    @property
    def sources(self) -> dict[str, PromptSource]:
        """Where its prompts come from, by their keys in the configuration."""
        config = self.config
        held_out = {"validation.source": config.validation.source} if config.validation else {}
        benchmarks = {f"evaluate.benchmarks.{number}": benchmark for number, benchmark in enumerate(config.evaluate.benchmarks)}
        return {"prompts": config.prompts, **held_out, **benchmarks}

    @cached_property
    def model(self) -> ModelSize:
        return model_size(self.config.base_model)

    @cached_property
    def architecture(self) -> Architecture | None:
        """What the base model is made of; None where that is not known here, or does not matter."""
        return None if self.config.is_served else architecture_of(self.config.base_model)

    @cached_property
    def has_chat_template(self) -> bool | None:
        """Whether prompts can be rendered; None where the base model's tokenizer is not known here."""
        return True if self.config.chat_template else has_chat_template(self.config.base_model)

    @cached_property
    def memory(self) -> MemoryPlan | None:
        """What the run takes on each GPU; None where the model's sizes are not known."""
        return memory_plan(self.config, self.architecture, self.card) if self.architecture else None

    @cached_property
    def reward(self) -> RewardShape:
        return probe_reward(self.config.reward, self.limit_tokens)

    @cached_property
    def selected(self) -> Profile | None:
        """The part of the profile that the filter keeps; None without a profile."""
        return self.profile.selected(self.config.filter) if self.profile else None

    @cached_property
    def positive_share(self) -> float | None:
        """Share of the selected prompts' rollouts that the first step would reward above 0; None where no rollouts are known."""
        return self.selected.positive_share(self.config) if self.selected else None

    @cached_property
    def correct_lengths(self) -> list[int]:
        """Lengths in tokens, rising, of the profile's correct rollouts of the selected prompts; empty where none are known."""
        return self.selected.correct_lengths() if self.selected else []

    @property
    def limit_tokens(self) -> int:
        """The longest training rollout, L_R."""
        return self.config.train.rollout_limit_tokens

    @property
    def target_tokens(self) -> int:
        """The reward's target length L_T."""
        return self.config.reward.target_tokens

    @property
    def rewarded_tokens(self) -> int:
        """The longest response that can earn the full reward: L_T, or L_R where the reward does not look at L_T or moves it."""
        return self.target_tokens if self.reward.uses_target and not self.reward.moves_target else self.limit_tokens

    @property
    def is_instruct(self) -> bool:
        """Whether the base answers without a thinking phase of its own, as its name or chat style says."""
        name = self.config.base_model.lower()
        return self.config.chat_style == "qwen3-non-thinking" or ("instruct" in name and "thinking" not in name)

    @property
    def selects_only_hard(self) -> bool:
        """Whether the filter keeps hard prompts alone, whatever the profile."""
        rule = self.config.filter
        return rule.subset == "hard" or (rule.subset == "band" and rule.max_pass_rate <= 0.5)

    @property
    def may_select_hard(self) -> bool:
        rule = self.config.filter
        return rule.subset in ("hard", "all") or (rule.subset == "band" and rule.min_pass_rate <= 0.5)

    def length_settings(self, target: int, limit: int) -> tuple[str, ...]:
        """Overrides that set L_T and L_R where they change, and leave the control more room than L_T."""
        changed = {
            "reward.target_tokens": (target, self.target_tokens),
            "train.rollout_limit_tokens": (limit, self.limit_tokens),
        }
        settings = tuple(f"{key}={new}" for key, (new, old) in changed.items() if new != old)
        control = self.config.control
        if not control.enabled or (control.rollout_limit_tokens or limit) > target:
            return settings
        room = max(self.limit_tokens, self.config.profile.rollout_limit_tokens)
        return (*settings, f"control.rollout_limit_tokens={room if room > target else 2 * target}")
