"""How many parameters a base model has: from its config.json where that is known, else from its name."""

import re
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.memory import architecture_of

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
        """Far smaller than any model of the paper."""
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
