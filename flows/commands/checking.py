"""`laconic check`: a configuration held against the guidelines; no flow, since nothing runs and nothing is stored."""

import shlex
import textwrap
from collections import Counter
from pathlib import Path

from rich.text import Text

from pipeline_lib.config import RunConfig
from pipeline_lib.guidelines import SEVERITIES, Remark, check_config
from pipeline_lib.messages.harmless import HarmlessConsole, json_text, visible_line

WIDTH = 100
STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
INDENT = 9


def check_and_show(config: RunConfig, home: Path, output_format: str, strict: bool) -> bool:
    """Print the remarks on a configuration as `table` or `json`; False for an error, or with `strict` for a warning.

    Raises ValueError for another format.
    """
    if output_format not in ("table", "json"):
        raise ValueError(f"--format {output_format!r} is not one of table, json")
    remarks, profile_status = check_config(config, home)
    counts = Counter(remark.advice.severity for remark in remarks)
    passed = not counts["error"] and not (strict and counts["warning"])
    if output_format == "json":
        rows = [remark.as_row() for remark in remarks]
        print(json_text({"run_id": config.run_id, "passed": passed, "profile": profile_status, "remarks": rows}, indent=2))
        return passed
    terminal = HarmlessConsole()
    console = HarmlessConsole(width=min(WIDTH, terminal.width) if terminal.is_terminal else WIDTH)
    for remark in remarks:
        _show(remark, console)
    summary = ", ".join(_count(counts[severity], severity) for severity in SEVERITIES)
    console.print(Text(textwrap.fill(f"{config.name}: {summary}; {profile_status}", console.width)), soft_wrap=True)
    return passed


def _show(remark: Remark, console: HarmlessConsole) -> None:
    """One remark: its severity in colour, the rule and what it rests on; below, what was found, why, and what to do."""
    advice, rule = remark.advice, remark.rule
    head = Text(f"{advice.severity:<{INDENT}}", style=STYLES[advice.severity])
    head.append(rule.id, style="bold").append(f"  ({rule.basis})", style="dim")
    console.print(head)
    lines = {advice.found: "", rule.why: "dim", f"→ {advice.remedy}": ""}
    if advice.settings:
        lines[" ".join(f"--set {shlex.quote(setting)}" for setting in advice.settings)] = "green"
    for text, style in lines.items():
        console.print(Text(_wrapped(text, console.width), style=style), soft_wrap=True)
    console.print()


def _wrapped(text: str, width: int) -> str:
    indent = " " * INDENT
    return textwrap.fill(
        visible_line(text),
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
