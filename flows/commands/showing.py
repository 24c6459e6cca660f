"""`laconic show`: rollouts side by side in the terminal, or as JSON; no flow, since nothing runs and nothing is stored."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.commands.terminal import cell, text_table
from pipeline_lib.messages.harmless import json_text, visible, visible_line
from pipeline_lib.runs.rollout_examples import OTHERS, RolloutView, ShownRollout, interesting_rollouts, view_rollout
from pipeline_lib.runs.run import Run
from pipeline_lib.runs.spent import spent_words
from pipeline_lib.store.database import Store

# Below this many characters a rollout, they stand below each other.
COLUMN_WIDTH = 48
FACTS = (
    "num_tokens",
    "finish_reason",
    "answer",
    "correct",
    "grade_reason",
    "reward",
    "advantage",
    "masked",
    "policy_lag",
    "mean_logprob",
    "tokens_to_answer",
    "restarts",
    "repeated_fraction",
)
TRAINING_FACTS = ("reward", "advantage", "masked", "policy_lag")


def show_rollout(home: Path, rollout_id: str, beside: str | None, output_format: str, console: Console) -> None:
    """Print a rollout next to its counterparts, or to `beside`, as `text` or `json`."""
    view = view_rollout(Store(home), rollout_id, beside)
    if output_format == "json":
        print(json_text(_as_tree(view), indent=2))
        return
    rows = [shown.row for shown in view.shown]
    for row in {(row["source"], row["prompt_id"]): row for row in rows}.values():
        console.print(Text(visible_line(f"{row['source']} · {row['prompt_id']}"), style="dim"))
        for title, column, missing in (
            ("problem", "problem", "not stored"),
            ("answer", "reference_answer", "decided by tests"),
        ):
            console.print(Text.assemble((f"{title:<9}", "bold"), visible(row[column] or missing)), soft_wrap=True)
    if console.width >= COLUMN_WIDTH * len(view.shown):
        console.print(_table(view.shown))
    else:
        for shown in view.shown:
            console.print(_table([shown]))
    if view.others:
        _show_others(view.others, console)


def _as_tree(view: RolloutView) -> dict[str, Any]:
    first = view.shown[0].row
    left_out = {"problem", "reference_answer", "domain"}
    return {
        "problem": first["problem"],
        "answer": first["reference_answer"],
        "rollouts": [
            {"role": shown.role, **{key: value for key, value in shown.row.items() if key not in left_out}}
            for shown in view.shown
        ],
        "others": list(view.others),
    }


def _table(shown: Sequence[ShownRollout]) -> Table:
    table = Table(box=box.ROUNDED, expand=True, show_lines=True)
    for each in shown:
        table.add_column(Text(visible_line(each.role), style="bold"), ratio=1, overflow="fold")
    table.add_row(*(_facts(each) for each in shown))
    table.add_row(*(Text(visible(each.row["text"])) for each in shown))
    return table


def _facts(shown: ShownRollout) -> Text:
    row = shown.row
    text = Text(f"{visible_line(row['rollout_id'])}\n", style="dim")
    is_training = row["stage"] == "train"
    names = [name for name in FACTS if (is_training or name not in TRAINING_FACTS) and row[name] is not None]
    for place, name in enumerate(names):
        style = ("green" if row[name] else "red") if name == "correct" else "default"
        text.append(f"{name:<18}", style="default").append(visible_line(cell(row[name])), style=style)
        text.append("\n" if place < len(names) - 1 else "")
    return text


def _show_others(others: Sequence[Any], console: Console) -> None:
    columns = ["stage", "step", "num_tokens", "correct", "reward", "rollout_id"]
    newest_first = sorted(others, key=lambda row: (row["stage"] == "train", row["step"]), reverse=True)
    rows = [[cell(row[column]) for column in columns] for row in newest_first[:OTHERS]]
    more = f" (the newest {OTHERS} of {len(others)})" if len(others) > OTHERS else ""
    console.print(text_table(f"Other rollouts of this prompt{more}", columns, rows))


def show_run(home: Path, word: str, output_format: str, console: Console) -> None:
    """Print a few rollouts of a run that are worth a look, as `text` or `json`."""
    store = Store(home)
    run_id, found = interesting_rollouts(store, word)
    spent = None
    with suppress(ValueError):  # of recorded rollouts, or a configuration of another version
        spent = spent_words(store, Run.stored(store.named("run", run_id=run_id)[0]))
    if output_format == "json":
        print(json_text({"run_id": run_id, "rollouts": [asdict(each) for each in found], "spent": spent}, indent=2))
        return
    columns = ["why", "tokens before", "tokens", "correct", "rollout_id"]
    rows = [
        [each.why, cell("–" if before is None else before), cell(each.num_tokens), cell(each.correct), each.rollout_id]
        for each in found
        for before in [each.tokens_before]
    ]
    console.print(text_table(f"Rollouts of {run_id}; 'laconic show ROLLOUT_ID' shows one", columns, rows))
    if spent:
        console.print(f"spent: {spent}", soft_wrap=True)
