"""Settings of a model that is served elsewhere, behind an OpenAI-compatible endpoint."""

import re
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from pipeline_lib.section import ChangesNoResult, NonNegativeInt, PositiveFloat, PositiveInt, Section

# Where something belongs that must not be shown: what stands there by mistake is not repeated in an error.
CONFIDENTIAL = ("base_url", "key_variable")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
# Parameters of a request that have settings of their own, or without which an answer could not be read.
_OURS = ("model", "messages", "n", "seed", "temperature", "top_p", "max_tokens", "max_completion_tokens", "stream", "logprobs")


class EndpointConfig(Section):
    """An OpenAI-compatible endpoint; `base_model` is the name under which it serves the model (docs/howto/served-model.md)."""

    base_url: str = Field(description="Address of its API, to which chat/completions is added: 'https://HOST/v1'.")
    key_variable: ChangesNoResult[str | None] = Field(
        None,
        description="Name of the environment variable that holds the key, such as 'OPENAI_API_KEY'; absent: no key is sent.",
    )
    concurrency: ChangesNoResult[PositiveInt] = Field(32, description="Most requests at once; each asks for one response.")
    retries: ChangesNoResult[NonNegativeInt] = Field(
        8, description="How often a request is sent again: after 429, a server's error, a broken or no answer."
    )
    answer_seconds: ChangesNoResult[PositiveFloat] = Field(1800.0, description="Most time for one answer, all of it.")
    stage_seconds: ChangesNoResult[PositiveFloat | None] = Field(
        None, description="Most time for all requests of a stage; what has come is kept. Absent: no limit."
    )
    logprobs: ChangesNoResult[bool] = Field(True, description="Ask for log-probs, where the endpoint gives them.")
    limit_parameter: ChangesNoResult[Literal["max_tokens", "max_completion_tokens"]] = Field(
        "max_tokens", description="What the endpoint calls the most tokens of a response."
    )
    parameters: dict[str, Any] = Field(
        {}, description="Further parameters of each request, such as {reasoning_effort = 'low'} or vLLM's {top_k = -1}."
    )
    tokenizer: str | None = Field(
        None,
        description="Model folder or hub id whose tokenizer counts prompts, and responses where the endpoint does not; absent: "
        "prompts are not counted.",
    )

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).hostname or ""

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's loopback interface."""
        return self.host == "localhost" or self.host.startswith("127.") or self.host == "::1"

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, address: str) -> str:
        try:
            parts = urlsplit(address)
            is_plain = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            is_plain = False
        if not is_plain or "@" in parts.netloc or parts.query or parts.fragment or not address.isprintable() or " " in address:
            raise ValueError(
                "is no address of the form https://HOST[:PORT]/v1 (a key belongs into the variable of key_variable)"
            )
        return address.rstrip("/")

    @field_validator("key_variable")
    @classmethod
    def _variable(cls, name: str | None) -> str | None:
        if name is not None and not _VARIABLE.fullmatch(name):
            raise ValueError("is no name of an environment variable, in upper case; the key itself belongs into that variable")
        return name

    @field_validator("parameters")
    @classmethod
    def _further(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        if taken := [name for name in _OURS if name in parameters]:
            raise ValueError(f"{', '.join(taken)} cannot be set here: the stages' own settings say it")
        return parameters
