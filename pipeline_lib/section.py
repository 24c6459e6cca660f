"""What all sections of the configuration share: frozen models, unknown keys refused, and the types of their fields."""

import re
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
)
from pydantic.fields import FieldInfo

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]

LONGEST_NAME = 100
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
# What a configuration is validated with that was stored by a version with other rules for names.
STORED: dict[str, Any] = {"is_stored": True}


def is_name(text: str) -> bool:
    """Whether a text may name what becomes part of paths, keys and filters: a run, a source, an arm, a model, an experiment."""
    return len(text) <= LONGEST_NAME and _NAME.fullmatch(text) is not None


def name_from(text: str) -> str:
    """The nearest name to a text from elsewhere, such as a file's name; may be empty."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower())[:LONGEST_NAME].strip("-._")


def _check_name(text: str, info: ValidationInfo) -> str:
    if info.context is not STORED and not is_name(text):
        raise ValueError(
            "a name has lower-case letters, digits, '.', '_' and '-', the first a letter or digit, and at most "
            f"{LONGEST_NAME} of them"
        )
    return text


Name = Annotated[
    str,
    AfterValidator(_check_name),
    Field(json_schema_extra={"pattern": f"^{_NAME.pattern}$", "maxLength": LONGEST_NAME}),
]


ValueT = TypeVar("ValueT")
_MARK, _DEFAULT = "changes no result", "ids count its default"
# The type of a setting that changes no result beyond rounding: a run's id and the fingerprints of stages leave it out.
ChangesNoResult = Annotated[ValueT, _MARK]
# The same where the ids in use count the setting: they count its default, whatever it is.
CountsAsDefault = Annotated[ValueT, _MARK, _DEFAULT]
_LATER = "counts where given"
# The type of a setting that results depend on, and that ids already in use know nothing of: they stay where it has its default.
CountsWhereGiven = Annotated[ValueT, _LATER]
_FOR_RESULTS: dict[str, Any] = {"for_results": True}


def changes_no_result(field: FieldInfo) -> bool:
    """Whether a setting is marked as `ChangesNoResult`."""
    return _MARK in field.metadata


class Section(BaseModel):
    """A section of the configuration: frozen, unknown keys and numbers that are NaN or infinite refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        protected_namespaces=(),
        allow_inf_nan=False,
        hide_input_in_errors=True,  # of pydantic's own text, which tracebacks repeat: it may be a password or a key
    )

    def result_settings(self, exclude: set[str] | None = None) -> dict[str, Any]:
        """What results depend on: the settings as plain JSON values, without those that change none, at any depth."""
        return self.model_dump(mode="json", exclude=exclude, context=_FOR_RESULTS)

    @model_serializer(mode="wrap")
    def _leave_out_marked(self, dump: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        settings: dict[str, Any] = dump(self)
        if info.context is not _FOR_RESULTS:
            return settings
        fields = type(self).model_fields
        absent = {name for name in settings if getattr(self, name) == fields[name].default and _LATER in fields[name].metadata}
        counted = {
            name: value for name, value in settings.items() if name not in absent and not changes_no_result(fields[name])
        }
        return counted | {name: field.default for name, field in fields.items() if _DEFAULT in field.metadata}
