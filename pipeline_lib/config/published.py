"""A model that others trained from the base and published, and what they report of it."""

from pydantic import Field

from pipeline_lib.section import ChangesNoResult, Fraction, NonNegativeInt, PositiveFloat, PositiveInt, Section


class ReportedConfig(Section):
    """What a source reports of one model on one benchmark; the figures at the largest budget are put beside it."""

    stated_in: str = Field(description="Where it stands, such as a paper's version, table and row.")
    benchmark: str = Field(description="Name of a benchmark of evaluate.")
    step: NonNegativeInt = Field(description="0: of the base; else of the published model.")
    mean_at_k: Fraction = Field(description="Mean@k, 0-1.")
    pass_at_k: Fraction | None = Field(None, description="Pass@k, 0-1.")
    mean_tokens: PositiveFloat | None = Field(None, description="Mean length of a response in tokens.")


class PublishedConfig(Section):
    """A model that others trained from the base, evaluated beside it in place of checkpoints of the run's own."""

    model: str = Field(
        description="Its folder or hub id; it has the base's architecture, and is asked with the base's tokenizer."
    )
    revision: str | None = Field(None, description="Hub only: its commit or tag.")
    step: PositiveInt = Field(description="How many steps it was trained; the store has its results at this step.")
    reported: ChangesNoResult[tuple[ReportedConfig, ...]] = Field((), description="What its authors report.")
