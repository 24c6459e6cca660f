"""What generation costs, by which tokens and hours become money."""

from typing import Annotated

from pydantic import Field, model_validator

from pipeline_lib.section import Section

Price = Annotated[float, Field(ge=0.0)]
MILLION = 1e6
HOUR_SECONDS = 3600.0


class PricesConfig(Section):
    """What generation costs: by the token, as a served model, or by the hour of a GPU. Without a price no money is told."""

    currency: str = Field("USD", pattern="^[A-Z]{3}$", description="Of all prices; three letters.")
    input_per_million_tokens: Price | None = Field(None, description="Price of a million prompt tokens; absent: nothing.")
    output_per_million_tokens: Price | None = Field(None, description="Price of a million response tokens; absent: nothing.")
    per_gpu_hour: Price | None = Field(None, description="Price of an hour of one GPU, instead of the price of tokens.")

    @model_validator(mode="after")
    def _in_one_way(self) -> "PricesConfig":
        if self.per_gpu_hour is not None and self.is_by_token:
            raise ValueError("prices.per_gpu_hour and a price of tokens would count the same twice: give one of them")
        return self

    @property
    def is_by_token(self) -> bool:
        """Whether tokens have a price."""
        return (self.input_per_million_tokens, self.output_per_million_tokens) != (None, None)

    def of_tokens(self, input_tokens: float, output_tokens: float) -> float | None:
        """What tokens cost; None where they have no price."""
        if not self.is_by_token:
            return None
        of_input, of_output = self.input_per_million_tokens or 0.0, self.output_per_million_tokens or 0.0
        return (input_tokens * of_input + output_tokens * of_output) / MILLION

    def of_gpu_seconds(self, gpu_seconds: float) -> float | None:
        """What seconds cost, those of several GPUs added up; None where GPUs have no price."""
        return None if self.per_gpu_hour is None else gpu_seconds / HOUR_SECONDS * self.per_gpu_hour
