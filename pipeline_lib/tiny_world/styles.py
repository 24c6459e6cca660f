"""How a model of the tiny world writes its responses: the share of each style, and how many of its lines are right."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from pipeline_lib.tiny_world.traces import STYLES, line_results, style_of

Table = tuple[str, list[str], list[list[str]], str]


def style_tables(responses: Mapping[str, Sequence[tuple[str, str]]]) -> list[Table]:
    """Tables (title, columns, rows, note) over labelled models, each with its (problem, response) pairs."""
    shares = [[label, *_shares([text for _, text in pairs])] for label, pairs in responses.items()]
    lines = [[label, *_line_accuracies(pairs)] for label, pairs in responses.items()]
    operands = [str(operand) for operand in range(1, 7)]
    return [
        (
            "How responses are written",
            ["model", *STYLES, "other"],
            shares,
            "Share of responses by style: count goes step by step, verbose repeats itself, table takes a whole operation from memory.",
        ),
        (
            "Right lines",
            ["model", "count", "table", *(f"table ±{operand}" for operand in operands)],
            lines,
            "Share of arithmetic lines that are right; ±n: lines of the table style with operand n. Large operands are rare in the "
            "warm-up corpus, so they are the weak spot.",
        ),
    ]


def _shares(texts: Sequence[str]) -> list[str]:
    counts = Counter(style_of(text) for text in texts)
    return [f"{100 * counts[style] / max(len(texts), 1):.0f} %" for style in (*STYLES, "other")]


def _line_accuracies(pairs: Sequence[tuple[str, str]]) -> list[str]:
    tally: dict[tuple[str, int | None], list[bool]] = defaultdict(list)
    for problem, text in pairs:
        for line in line_results(problem, text):
            tally[line.style, None].append(line.right)
            if line.style == "table":
                tally["table", line.operands[0]].append(line.right)
    keys: list[tuple[str, int | None]] = [("count", None), ("table", None), *(("table", operand) for operand in range(1, 7))]
    return [f"{100 * sum(tally[key]) / len(tally[key]):.0f} %" if tally[key] else "–" for key in keys]
