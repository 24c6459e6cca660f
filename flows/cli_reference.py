"""The command line as Markdown, from the commands themselves (docs/reference/cli.md)."""

from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from typer.main import get_command

from flows.cli import app

TYPES = {str: "text", int: "whole number", float: "number", Path: "path"}


def render_commands() -> str:
    """All commands by group, then a heading, usage, arguments and options for each."""
    commands: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    parts: list[str] = []
    for panel in dict.fromkeys(command.rich_help_panel for command in commands.values()):
        grouped = {name: command for name, command in commands.items() if command.rich_help_panel == panel}
        rows = [f"| [`{name}`](#laconic-{name}) | {_escape(_first(command))} |" for name, command in grouped.items()]
        parts += [f"| {panel} | |", "|---|---|", *rows, ""]
    for name, command in commands.items():
        parts += [*_command(name, command), ""]
    return "\n".join(parts).rstrip()


def _command(name: str, command: Any) -> list[str]:
    options = [parameter for parameter in command.params if _is_option(parameter)]
    arguments = [parameter for parameter in command.params if not _is_option(parameter)]
    words = [_word(each) for each in arguments]
    usage = " ".join(["laconic", name, *words, *(["[OPTIONS]"] if options else [])])
    lines = [
        f"## laconic {name}",
        "",
        _escape(" ".join((command.help or "").split("\f")[0].split())),
        "",
        "```text",
        usage,
        "```",
    ]
    rows = [_row(f"`{word}`", each) for word, each in zip(words, arguments, strict=True)]
    rows += [_row(", ".join(f"`{name}`" for name in [*each.opts, *each.secondary_opts]), each) for each in options]
    return [*lines, "", "| | type | default | |", "|---|---|---|---|", *rows] if rows else lines


def _word(argument: Any) -> str:
    word = (argument.metavar or argument.name.upper()) + ("..." if argument.nargs == -1 else "")
    return word if argument.required else f"[{word}]"


def _row(name: str, parameter: Any) -> str:
    return f"| {name} | {_kind(parameter)} | {_default(parameter)} | {_escape(parameter.help or '')} |"


def _kind(parameter: Any) -> str:
    if getattr(parameter, "is_flag", False):
        return "flag"
    annotation = parameter.type_descriptor.annotation
    while get_origin(annotation) in (list, Union, UnionType):  # list[str], Path | None
        annotation = next(each for each in get_args(annotation) if each is not type(None))
    if get_origin(annotation) is Literal:
        kind = ", ".join(f"`{choice}`" for choice in get_args(annotation))
    else:
        kind = f"`{parameter.metavar}`" if _is_option(parameter) and parameter.metavar else TYPES[annotation]
    is_many = getattr(parameter, "multiple", False) or parameter.nargs == -1
    limits = [f"{sign} {limit}" for sign, limit in (("≥", parameter.min), ("≤", parameter.max)) if limit is not None]
    return ", ".join([f"{kind} {', '.join(limits)}".strip(), *(["repeatable"] if is_many else [])])


def _is_option(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option")


def _default(parameter: Any) -> str:
    if parameter.required:
        return "**required**"
    if getattr(parameter, "is_flag", False) or parameter.default in (None, [], ()):
        return ""
    return f"`{parameter.default}`"


def _first(command: Any) -> str:
    return str(command.help or "").split("\n\n")[0].replace("\n", " ").strip()


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
