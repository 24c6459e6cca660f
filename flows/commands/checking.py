"""`laconic check`: a configuration held against the guidelines and the memory plan; no flow: nothing runs, nothing is stored."""

import shlex
import textwrap
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from rich.text import Text

from flows.commands.terminal import console, text_table
from pipeline_lib.config import RunConfig
from pipeline_lib.fleet.placement import layout_words, num_nodes, num_processes
from pipeline_lib.guidelines import SEVERITIES, PlannedRun, Remark, check_run
from pipeline_lib.memory import Card, MemoryPlan
from pipeline_lib.memory.table import cache_words, configuration_table, phase_table
from pipeline_lib.messages.harmless import HarmlessConsole, json_text, visible_line

WIDTH = 100
STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
INDENT = 9


def check_and_show(config: RunConfig, home: Path, card: Card, output_format: str, strict: bool) -> bool:
    """Print the remarks on a configuration and its memory plan as `table` or `json`; False for an error, or with `strict` for a
    warning."""
    plan = PlannedRun.of(config, home, card)
    remarks = check_run(plan)
    counts = Counter(remark.advice.severity for remark in remarks)
    passed = not counts["error"] and not (strict and counts["warning"])
    if output_format == "json":
        rows = [remark.as_row() for remark in remarks]
        memory = plan.memory and asdict(plan.memory)
        layout = {"gpus": num_processes(config), "nodes": num_nodes(config) if config.fleet.kind == "ray" else 1}
        tree = {"run_id": config.run_id, "passed": passed, "profile": plan.profile_status, "memory": memory, "layout": layout}
        print(json_text({**tree, "remarks": rows}, indent=2))
        return passed
    terminal = HarmlessConsole()
    console = HarmlessConsole(width=min(WIDTH, terminal.width) if terminal.is_terminal else WIDTH)
    for remark in remarks:
        _show(remark, console)
    if plan.memory and not plan.model.is_toy:
        _show_memory(plan, plan.memory, console)
    summary = ", ".join(counted(counts[severity], severity) for severity in SEVERITIES)
    console.print(Text(textwrap.fill(f"{config.name}: {summary}; {plan.profile_status}", console.width)), soft_wrap=True)
    return passed


def show_memory_table(configs: list[tuple[str, RunConfig]], card: Card) -> None:
    """Print the memory plan of some configurations on 1, 4 and 8 such cards."""
    columns, rows = configuration_table(configs, card)
    console.print(
        text_table(f"memory on cards of {card.gib:.1f} GiB, computed: GiB a GPU at the peak of each phase", columns, rows)
    )


def _show_memory(plan: PlannedRun, memory: MemoryPlan, console: HarmlessConsole) -> None:
    columns, rows = phase_table(memory)
    nodes = f"; {layout_words(plan.config)}" if plan.config.fleet.kind == "ray" else ""
    title = f"memory, computed, on {num_processes(plan.config)} × {plan.card.gib:.1f} GiB ({plan.card.name}){nodes}"
    console.print(text_table(title, columns, rows))
    words = f"the engine's cache holds {cache_words(memory)} of {memory.longest_tokens} tokens"
    if memory.cache_tokens_alone != memory.cache_tokens:
        words += f" in training, {cache_words(memory, is_alone=True)} in profile and evaluate"
    if memory.host_gib:
        machines = (
            "machine's own memory" if plan.config.fleet.kind == "embedded" else "trainer's nodes' own memory, all together"
        )
        words += f"; the optimiser takes {memory.host_gib:.0f} GiB of the {machines}"
    words += f"; without a GPU the run takes {memory.cpu_gib:.0f} GiB"
    console.print(Text(f"{words}\n"), soft_wrap=True)


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


def counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
