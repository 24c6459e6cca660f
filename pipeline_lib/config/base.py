"""What all sections of the configuration share: frozen models, unknown keys refused, and the types of their fields."""

import hashlib
import json
import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]


class Section(BaseModel):
    """A section of the configuration: frozen, unknown keys and numbers that are NaN or infinite refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def laconic_home() -> Path:
    """The folder that holds everything a user's runs leave: `LACONIC_HOME`, by default `./artifacts`, absolute."""
    return Path(os.environ.get("LACONIC_HOME", "artifacts")).expanduser().resolve()
