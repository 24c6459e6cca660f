"""The configuration as Markdown, from its models (docs/reference/configuration.md)."""

import json
from typing import Any, get_args

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline_lib.config import RecordedConfig, RunConfig, WarmupConfig
from pipeline_lib.rewards import REWARDS
from pipeline_lib.section import Section, changes_no_result

# Who reads a section, by its place in the file; a section that is missing here is an error, so that none goes unexplained.
READERS = {
    "": "every stage",
    "prompts": "profile, filter",
    "generation": "profile, train, evaluate",
    "generation.endpoint": "profile, evaluate",
    "profile": "profile",
    "filter": "filter",
    "filter.cleaning": "filter",
    "reward": "train",
    "train": "train",
    "train.lora": "train",
    "compute": "train (its processes: every stage)",
    "fleet": "profile, train, evaluate",
    "watch": "train",
    "checkpoint": "train (checkpoints)",
    "validation": "train (checkpoints)",
    "evaluate": "evaluate",
    "evaluate.published": "evaluate, report",
    "evaluate.published.reported": "evaluate, report",
    "control": "train, evaluate, report",
    "tracking": "every stage; register",
    "prices": "report, `laconic show`",
    "retrain": "`laconic retrain` and its schedule",
    "retrain.gate": "`laconic retrain`, `laconic promote`: the gate",
}
SHARED = {"PromptSource": "A prompt source", "LocalCopy": "A local copy"}


def render_configuration() -> str:
    """A heading and a table for each section of a run, then what other commands take."""
    parts: list[str] = []
    later: dict[str, type[Section]] = {}
    _add_section(parts, later, "", RunConfig)
    while later:
        name, model = later.popitem()
        parts += [f"## {SHARED[name]}", "", _sentence(model), "", *_table(model, later), ""]
    for title, model, command in (
        ("Recorded rollouts", RecordedConfig, "`laconic evaluate --rollouts FILE --set KEY=VALUE`"),
        ("The warm-up", WarmupConfig, "`laconic warmup FILE`"),
    ):
        parts += [f"## {title}", "", f"{_sentence(model)} Read by {command}.", "", *_table(model, {}), ""]
    parts += [
        "## Settings of the rewards",
        "",
        "`reward.parameters`, by `reward.name`; [Rewards](../rewards.md) has the formulas.",
        "",
    ]
    return "\n".join([*parts, *_reward_table()])


def _add_section(parts: list[str], later: dict[str, type[Section]], path: str, model: type[Section]) -> None:
    title = f"`[{path}]`" if path else "At the top"
    parts += [f"## {title}", "", f"{_sentence(model)} Read by {READERS[path]}.", "", *_table(model, later, path), ""]
    for name, field in model.model_fields.items():
        inner = _section_of(field)
        if inner is None:
            continue
        if inner.__name__ in SHARED:
            later[inner.__name__] = inner
        else:
            _add_section(parts, later, f"{path}.{name}".lstrip("."), inner)


def _sentence(model: type[Section]) -> str:
    return " ".join((model.__doc__ or "").split("\n\n")[0].split())


def _section_of(field: FieldInfo) -> type[Section] | None:
    """The section that a field holds, alone, optional or in a list."""
    candidates = [field.annotation, *get_args(field.annotation)]
    found = [each for each in candidates if isinstance(each, type) and issubclass(each, Section)]
    return found[0] if found else None


def _table(model: type[Section], later: dict[str, type[Section]], path: str = "") -> list[str]:
    properties = model.model_json_schema()["properties"]
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        inner = _section_of(field)
        if inner and inner.__name__ in SHARED:
            later.setdefault(inner.__name__, inner)
        kind = _link(inner, field, f"{path}.{name}".lstrip(".")) if inner else _kind(properties[name])
        words = field.description or (_sentence(inner) if inner else "")
        meaning = _escape(words) + (" *Changes no result.*" if changes_no_result(field) else "")
        rows.append(f"| `{name}` | {kind} | {_default(field, inner)} | {meaning} |")
    return rows


def _link(inner: type[Section], field: FieldInfo, path: str) -> str:
    many = "list of " if str(field.annotation).startswith("tuple") else ""
    if inner.__name__ in SHARED:
        title = SHARED[inner.__name__].lower()
        return f"{many}[{title}](#{title.replace(' ', '-')})"
    return f"[section](#{path.replace('.', '')})"


def _kind(schema: dict[str, Any]) -> str:
    """Type and range from a property's JSON schema."""
    choices = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
    return " or ".join(_one_kind(choice) for choice in choices)


def _one_kind(schema: dict[str, Any]) -> str:
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{_escape(value)}`" for value in schema.get("enum", [schema.get("const")]))
    kind = str(schema.get("type", "object" if "$ref" in schema else "any"))
    if kind == "array":
        fixed = schema.get("prefixItems")
        items = ", ".join(_one_kind(item) for item in fixed) if fixed else _one_kind(schema.get("items", {}))
        return f"list of {items}" if fixed is None else f"list: {items}"
    name = {"integer": "whole number", "string": "text", "boolean": "true or false", "object": "table"}.get(kind, kind)
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]:g}" for key, sign in limits.items() if key in schema]
    return " ".join([name, ", ".join(bounds)]).strip()


def _default(field: FieldInfo, inner: type[Section] | None) -> str:
    if field.is_required():
        return "**required**"
    value = field.default if field.default is not PydanticUndefined else field.default_factory()  # type: ignore[misc, call-arg]
    if value is None:
        return "absent"
    if inner and isinstance(value, Section):
        return "its defaults"
    return f"`{_escape(json.dumps(value, ensure_ascii=False))}`"


def _reward_table() -> list[str]:
    rows = ["| reward | setting | type | default | meaning |", "|---|---|---|---|---|"]
    for reward, implementation in REWARDS.items():
        properties = implementation.Parameters.model_json_schema().get("properties", {})
        for name, field in implementation.Parameters.model_fields.items():
            meaning = _escape(field.description or "")
            rows.append(f"| `{reward}` | `{name}` | {_kind(properties[name])} | {_default(field, None)} | {meaning} |")
    return rows


def _escape(text: object) -> str:
    return str(text).replace("|", "\\|").replace("<", "&lt;")
